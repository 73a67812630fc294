#define PCRE2_CODE_UNIT_WIDTH 8
#include "tokenizer/split.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <new>
#include <optional>
#include <string>

#include "assay/error.h"
#include "base/text.h"
#include "base/utf8.h"
#include "tokenizer/regex_dialect.h"
#include "tokenizer/unicode_differences.h"

namespace assay {

namespace {

// The most steps that a match may take in a text of `size` bytes: enough for a megabyte of spaces.
// A pattern with exponential work reaches the limit soon.
std::uint32_t match_limit(std::size_t size) {
  return static_cast<std::uint32_t>(1'000'000 + 100 * std::min<std::size_t>(size, 10'000'000));
}

// The time that all matches in a text may take. It is checked now and then.
class Patience {
 public:
  explicit Patience(std::size_t size)
      : end_(Clock::now() + std::chrono::seconds(30 + static_cast<long>(size / 100'000))) {}
  bool is_over() { return ++matches_ % 64 == 0 && Clock::now() > end_; }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point end_;
  unsigned matches_ = 0;
};

struct CodeFree {
  void operator()(pcre2_code* p) const { pcre2_code_free(p); }
};
struct CompileContextFree {
  void operator()(pcre2_compile_context* p) const { pcre2_compile_context_free(p); }
};
struct ContextFree {
  void operator()(pcre2_match_context* p) const { pcre2_match_context_free(p); }
};
struct DataFree {
  void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
};

// A code point of the class with the same UTF-8 length. There are two columns for three bytes,
// because published patterns have a range that ends at U+4E00.
std::string_view stand_in(CharClass char_class, const Utf8Step& of) {
  constexpr std::string_view kStandIns[][4] = {
      {"\u00C0", "\u1E00", "\uA722", "\U00010400"},  // kUpper
      {"\u00FF", "\u1E01", "\uA723", "\U00010428"},  // kLower
      {"\u01BB", "\u0905", "\uA78F", "\U00010380"},  // kLetter
      {"\u01BB", "\u4E00", "\u4E00", "\U00020000"},  // kHan
      {"\u0300", "\u20D0", "\uA66F", "\U0001D165"},  // kMark
      {"\u0660", "\u0966", "\uA620", "\U0001D7CE"},  // kDigit
      {"\u00B2", "\u2460", "\uA830", "\U0001F100"},  // kNumber
      {"\u00A7", "\u2030", "\uA673", "\U00010100"},  // kPunctuation
      {"\u00A9", "\u2190", "\uA720", "\U0001F600"},  // kSymbol
      {"\u0378", "\u2FE0", "\uFFFE", "\U0001FFFE"},  // kOther: unassigned
  };
  const std::size_t column = of.length == 2           ? 0
                             : of.length == 4         ? 3
                             : of.code_point < 0x4E00 ? 1
                                                      : 2;
  return kStandIns[static_cast<std::size_t>(char_class)][column];
}

// Replaces code points for which PCRE2 and the tokenizers library disagree on the class by
// stand-ins of the same length. Returns false, and leaves `copy` untouched, if there are none.
bool replace_misjudged(std::string_view text, std::string& copy) {
  bool replaced = false;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Step step = utf8_step(text, at);
    if (step.length > 1) {
      if (const auto char_class = class_override(step.code_point)) {
        if (!replaced) copy = text;
        replaced = true;
        copy.replace(at, step.length, stand_in(*char_class, step));
      }
    }
    at += step.length;
  }
  return replaced;
}

// PCRE2's codes for it: 121 when compiling, which has no name, and PCRE2_ERROR_NOMEMORY when
// matching.
bool is_out_of_memory(int code) {
  constexpr int kHeapFailed = 121;
  return code == kHeapFailed || code == PCRE2_ERROR_NOMEMORY;
}

std::string message(int code) {
  PCRE2_UCHAR text[200];
  pcre2_get_error_message(code, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

}  // namespace

struct Splitter::Impl {
  std::string where;
  std::unique_ptr<pcre2_code, CodeFree> code;
};

Splitter::Splitter(std::string_view pattern, std::string_view where)
    : impl_(std::make_unique<Impl>()) {
  impl_->where = where;
  const std::string translated = pcre2_pattern(pattern, where);
  const std::unique_ptr<pcre2_compile_context, CompileContextFree> options(
      pcre2_compile_context_create(nullptr));
  if (!options) throw std::bad_alloc();
  pcre2_set_newline(options.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  // In Oniguruma's own syntax, ^ and $ match at line ends.
  impl_->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()),
                                  translated.size(), PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE,
                                  &error, &offset, options.get()));
  if (!impl_->code) {
    if (is_out_of_memory(error)) throw std::bad_alloc();
    throw input_error(where, fmt::format("'{}' ({})", shown(pattern), message(error)),
                      "a regular expression");
  }
  // Without the JIT (an unusual CPU) pcre2_match interprets: slower, same pieces.
  pcre2_jit_compile(impl_->code.get(), PCRE2_JIT_COMPLETE);
}

Splitter::~Splitter() = default;
Splitter::Splitter(Splitter&&) noexcept = default;
Splitter& Splitter::operator=(Splitter&&) noexcept = default;

std::size_t Splitter::least_match() const {
  std::uint32_t characters = 0;
  pcre2_pattern_info(impl_->code.get(), PCRE2_INFO_MINLENGTH, &characters);
  return characters;
}

std::vector<Stretch> Splitter::find(std::string_view text) const {
  const std::unique_ptr<pcre2_match_data, DataFree> data(
      pcre2_match_data_create_from_pattern(impl_->code.get(), nullptr));
  const std::unique_ptr<pcre2_match_context, ContextFree> context(
      pcre2_match_context_create(nullptr));
  if (!data || !context) throw std::bad_alloc();
  pcre2_set_match_limit(context.get(), match_limit(text.size()));
  Patience patience(text.size());
  std::string copy;
  const std::string_view subject = replace_misjudged(text, copy) ? copy : text;
  std::vector<Stretch> stretches;
  std::size_t done = 0;
  std::size_t from = 0;
  std::optional<std::size_t> last_end;
  while (from <= text.size() && !text.empty()) {
    const auto match = [&](std::uint32_t options) {
      return pcre2_match(impl_->code.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()),
                         subject.size(), from, PCRE2_NO_UTF_CHECK | options, data.get(),
                         context.get());
    };
    if (patience.is_over()) {
      throw input_error(impl_->where, "matching does not end (too much time for its text)",
                        "a pattern whose work grows with the text alone");
    }
    int found = match(0);
    if (found == PCRE2_ERROR_JIT_STACKLIMIT) found = match(PCRE2_NO_JIT);
    if (found == PCRE2_ERROR_NOMATCH) break;
    if (is_out_of_memory(found)) throw std::bad_alloc();
    if (found < 0) {
      throw input_error(impl_->where, fmt::format("matching does not end ({})", message(found)),
                        "a pattern whose work grows with the text alone");
    }
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data.get());
    const std::size_t begin = ends[0];
    const std::size_t end = ends[1];
    // An empty match may not directly follow another match.
    if (begin == end && last_end == end) {
      from += from < text.size() ? utf8_step(text, from).length : 1;
      continue;
    }
    from = end;
    last_end = end;
    if (done < begin) stretches.push_back({done, begin, false});
    stretches.push_back({begin, end, true});
    done = end;
  }
  if (done < text.size()) stretches.push_back({done, text.size(), false});
  return stretches;
}

std::vector<std::string_view> Splitter::split(std::string_view text) const {
  std::vector<std::string_view> pieces;
  for (const Stretch& stretch : find(text)) {
    pieces.push_back(text.substr(stretch.begin, stretch.end - stretch.begin));
  }
  return pieces;
}

}  // namespace assay
