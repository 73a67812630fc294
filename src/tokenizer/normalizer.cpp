#include "tokenizer/normalizer.h"

#include <algorithm>

#include "base/utf8.h"
#include "tokenizer/fixed_classes.h"
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

// Where a text or a pattern matches.
std::vector<Stretch> matches(const std::variant<std::string, Splitter>& from,
                             std::string_view text) {
  if (const auto* splitter = std::get_if<Splitter>(&from)) return splitter->find(text);
  const std::string& wanted = std::get<std::string>(from);
  std::vector<Stretch> stretches;
  std::size_t done = 0;
  for (;;) {
    const std::size_t at = text.find(wanted, done);
    if (at == text.npos) break;
    if (done < at) stretches.push_back({done, at, false});
    done = at + wanted.size();
    stretches.push_back({at, done, true});
  }
  if (done < text.size()) stretches.push_back({done, text.size(), false});
  return stretches;
}

class NormalizerRun {
 public:
  explicit NormalizerRun(Normalized& text) : now_(text) {}

  void operator()(UnicodeForm form) const {
    change([form](std::string_view text) { return in_form(form, text); });
  }

  void operator()(const PrependStep& step) const {
    if (now_.text.empty()) return;
    now_.text.insert(0, step.text);
    if (now_.from_start > 0) now_.from_start += step.text.size();
  }

  // The replacement counts as the last character of the text that it replaces.
  void operator()(const ReplaceStep& step) const {
    Normalized result;
    bool from_start = true;  // all so far
    for (const auto& [begin, end, is_match] : matches(step.from, now_.text)) {
      const std::string_view part =
          is_match ? step.to : std::string_view(now_.text).substr(begin, end - begin);
      std::size_t first = 0;  // bytes of it that do
      if (is_match) {
        first = end == 0 || end <= now_.from_start ? part.size() : 0;
      } else if (begin < now_.from_start) {
        first = std::min(now_.from_start - begin, part.size());
      }
      result.text += part;
      if (from_start) result.from_start += first;
      from_start = from_start && first == part.size();
    }
    now_ = std::move(result);
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
      now_.from_start -= std::min(begin, now_.from_start);
      text.remove_prefix(begin);
    }
    while (step.right && !text.empty()) {
      const std::size_t last = utf8_step_back(text, text.size());
      if (!is_white_space(utf8_step(text, last).code_point)) break;
      text = text.substr(0, last);
    }
    now_.text = std::string(text);
  }

  void operator()(LowercaseStep) const { change(lower_case); }

  void operator()(NmtStep) const {
    change([](std::string_view text) { return without(is_dropped_by_nmt, text); });
    change([](std::string_view text) {
      std::string result;
      for (std::size_t at = 0; at < text.size();) {
        const Utf8Step step = utf8_step(text, at);
        result += is_space_for_nmt(step.code_point) ? " " : text.substr(at, step.length);
        at += step.length;
      }
      return result;
    });
  }

  void operator()(StripAccentsStep) const {
    change([](std::string_view text) { return without(is_combining_mark, text); });
  }

  void operator()(const Charsmap& charsmap) const {
    Charsmap::Rewritten rewritten = charsmap.rewrite(now_.text, now_.from_start);
    now_ = {std::move(rewritten.text), rewritten.from_start};
  }

 private:
  // By what makes of each character what stands for it.
  template <typename Function>
  void change(const Function& function) const {
    const std::string first = function(std::string_view(now_.text).substr(0, now_.from_start));
    now_ = {function(now_.text), first.size()};
  }

  static std::string without(bool (*is_dropped)(char32_t), std::string_view text) {
    std::string kept;
    for (std::size_t at = 0; at < text.size();) {
      const Utf8Step step = utf8_step(text, at);
      if (!is_dropped(step.code_point)) kept += text.substr(at, step.length);
      at += step.length;
    }
    return kept;
  }

  Normalized& now_;
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
  Normalized now{std::string(text), text.empty() ? 0 : utf8_step(text, 0).length};
  for (const NormalizerStep& step : steps) std::visit(NormalizerRun{now}, step);
  return now;
}

}  // namespace assay
