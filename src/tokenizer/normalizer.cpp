#include "tokenizer/normalizer.h"

#include "tokenizer/fixed_classes.h"
#include "tokenizer/utf8.h"
#include "tokenizer/word_class.h"

namespace assay {
namespace {

bool is_dropped_by_nmt(char32_t c) {
  return (c >= 0x01 && c <= 0x08) || c == 0x0B || (c >= 0x0E && c <= 0x1F) || c == 0x7F ||
         c == 0x8F || c == 0x9F;
}

bool is_space_for_nmt(char32_t c) {
  return c == 0x09 || c == 0x0A || c == 0x0C || c == 0x0D || c == 0x1680 ||
         (c >= 0x200B && c <= 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 || c == 0xFEFF ||
         c == 0xFFFD;
}

class Run {
 public:
  explicit Run(Normalized& text) : now_(text) {}

  void operator()(UnicodeForm form) const { now_.text = in_form(form, now_.text); }

  void operator()(const PrependStep& step) const {
    if (!now_.text.empty()) now_.text.insert(0, step.text);
  }

  void operator()(const ReplaceStep& step) const {
    if (const auto* from = std::get_if<std::string>(&step.from)) {
      if (step.to.empty() && now_.text.starts_with(*from)) now_.from_start = false;
      now_.text = replaced(now_.text, *from, step.to);
      return;
    }
    std::string result;
    for (const Stretch& stretch : std::get<Splitter>(step.from).find(now_.text)) {
      const std::size_t length = stretch.end - stretch.begin;
      if (!stretch.is_match) {
        result.append(now_.text, stretch.begin, length);
        continue;
      }
      if (stretch.begin == 0 && length > 0 && step.to.empty()) now_.from_start = false;
      result += step.to;
    }
    now_.text = std::move(result);
  }

  void operator()(const StripStep& step) const {
    std::string_view text = now_.text;
    if (step.left) {
      std::size_t begin = 0;
      while (begin < text.size()) {
        const Utf8Step next = utf8_step(text, begin);
        if (!is_white_space(next.code_point)) break;
        begin += next.length;
      }
      if (begin > 0) now_.from_start = false;
      text.remove_prefix(begin);
    }
    while (step.right && !text.empty()) {
      const std::size_t last = utf8_step_back(text, text.size());
      if (!is_white_space(utf8_step(text, last).code_point)) break;
      text = text.substr(0, last);
    }
    now_.text = std::string(text);
  }

  void operator()(LowercaseStep) const { now_.text = lower_case(now_.text); }

  void operator()(NmtStep) const {
    drop(is_dropped_by_nmt);
    std::string result;
    for (std::size_t at = 0; at < now_.text.size();) {
      const Utf8Step step = utf8_step(now_.text, at);
      if (is_space_for_nmt(step.code_point)) {
        result += ' ';
      } else {
        result.append(now_.text, at, step.length);
      }
      at += step.length;
    }
    now_.text = std::move(result);
  }

  void operator()(StripAccentsStep) const { drop(is_combining_mark); }

 private:
  Normalized& now_;

  // Leaves out the characters of a class.
  void drop(bool (*is_dropped)(char32_t)) const {
    std::string kept;
    for (std::size_t at = 0; at < now_.text.size();) {
      const Utf8Step step = utf8_step(now_.text, at);
      if (!is_dropped(step.code_point)) {
        kept.append(now_.text, at, step.length);
      } else if (at == 0) {
        now_.from_start = false;
      }
      at += step.length;
    }
    now_.text = std::move(kept);
  }
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
