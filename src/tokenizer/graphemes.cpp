#include "tokenizer/graphemes.h"

#include <utf8proc.h>

#include "base/utf8.h"
#include "tokenizer/unicode_differences.h"

namespace assay {
namespace {

// Marks of Unicode 17 (class_override has those of 15 and 16).
bool is_new_mark(char32_t c) {
  return (c >= 0x1ACF && c <= 0x1ADD) || (c >= 0x1AE0 && c <= 0x1AEB) || c == 0x10EFA ||
         c == 0x10EFB || (c >= 0x11B60 && c <= 0x11B67) || c == 0x1E6E3 || c == 0x1E6E6 ||
         c == 0x1E6EE || c == 0x1E6EF || c == 0x1E6F5;
}

// A code point that utf8proc joins as the library joins this one.
utf8proc_int32_t stand_in(char32_t c) {
  constexpr utf8proc_int32_t kMark = 0x300;
  constexpr utf8proc_int32_t kPrepended = 0x600;
  if (c == 0x113D1) return kPrepended;
  if (is_new_mark(c)) return kMark;
  const auto char_class = class_override(c);
  if (char_class && *char_class == CharClass::kMark) return kMark;
  return static_cast<utf8proc_int32_t>(c);
}

}  // namespace

std::size_t grapheme_end(std::string_view text, std::size_t begin) {
  Utf8Step last = utf8_step(text, begin);
  std::size_t end = begin + last.length;
  utf8proc_int32_t state = 0;
  while (end < text.size()) {
    const Utf8Step next = utf8_step(text, end);
    if (utf8proc_grapheme_break_stateful(stand_in(last.code_point), stand_in(next.code_point),
                                         &state)) {
      break;
    }
    last = next;
    end += next.length;
  }
  return end;
}

}  // namespace assay
