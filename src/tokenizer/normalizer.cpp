#include "tokenizer/normalizer.h"

#include "tokenizer/utf8.h"
#include "tokenizer/word_class.h"

namespace assay {
namespace {

struct Run {
  Normalized& now;

  void operator()(UnicodeForm form) const { now.text = in_form(form, now.text); }

  void operator()(const PrependStep& step) const {
    if (!now.text.empty()) now.text.insert(0, step.text);
  }

  void operator()(const ReplaceStep& step) const {
    if (const auto* from = std::get_if<std::string>(&step.from)) {
      if (step.to.empty() && now.text.starts_with(*from)) now.from_start = false;
      now.text = replaced(now.text, *from, step.to);
      return;
    }
    std::string result;
    for (const Stretch& stretch : std::get<Splitter>(step.from).find(now.text)) {
      const std::size_t length = stretch.end - stretch.begin;
      if (!stretch.is_match) {
        result.append(now.text, stretch.begin, length);
        continue;
      }
      if (stretch.begin == 0 && length > 0 && step.to.empty()) now.from_start = false;
      result += step.to;
    }
    now.text = std::move(result);
  }

  void operator()(const StripStep& step) const {
    std::string_view text = now.text;
    if (step.left) {
      std::size_t begin = 0;
      while (begin < text.size()) {
        const Utf8Step next = utf8_step(text, begin);
        if (!is_white_space(next.code_point)) break;
        begin += next.length;
      }
      if (begin > 0) now.from_start = false;
      text.remove_prefix(begin);
    }
    while (step.right && !text.empty()) {
      const std::size_t last = utf8_step_back(text, text.size());
      if (!is_white_space(utf8_step(text, last).code_point)) break;
      text = text.substr(0, last);
    }
    now.text = std::string(text);
  }

  void operator()(LowercaseStep) const { now.text = lower_case(now.text); }
};

}  // namespace

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  result.reserve(text.size() + text.size() / 2);
  std::size_t at = 0;
  for (;;) {
    const std::size_t found = text.find(from, at);
    if (found == text.npos) break;
    result += text.substr(at, found - at);
    result += to;
    at = found + from.size();
  }
  result += text.substr(at);
  return result;
}

Normalized normalize(const std::vector<NormalizerStep>& steps, std::string_view text) {
  Normalized now{std::string(text)};
  for (const NormalizerStep& step : steps) std::visit(Run{now}, step);
  return now;
}

}  // namespace assay
