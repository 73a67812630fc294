// Where the Unicode tables of the tokenizers library (0.23) differ from those of our libraries. It
// splits by Oniguruma (Unicode 16) and normalizes by a Rust crate (Unicode 9); we do so by PCRE2
// (10.42: Unicode 14) and utf8proc (2.8: Unicode 15) or newer. The tables below hold for our
// libraries up to Unicode 18; tests/tokenizer/unicode_test.cpp checks every code point.
#pragma once

#include <optional>

namespace assay {

// What split patterns tell apart: \p{Lu} and \p{Lt}, \p{Ll}, \p{Lm} and \p{Lo}, \p{Han} of these,
// \p{M}, \p{Nd}, other \p{N}, \p{P}, \p{S}, none of these nor \s.
enum class CharClass {
  kUpper,
  kLower,
  kLetter,
  kHan,
  kMark,
  kDigit,
  kNumber,
  kPunctuation,
  kSymbol,
  kOther
};

// The class for the split patterns, where PCRE2's own may be another.
std::optional<CharClass> class_override(char32_t code_point);

// Whether NFC leaves the code point alone and lets nothing pass or compose across it, although
// utf8proc may treat it as a mark or as part of a composition.
bool is_nfc_inert(char32_t code_point);

// Whether NFKC and NFKD leave it alone besides, although utf8proc may decompose it.
bool is_nfkc_inert(char32_t code_point);

}  // namespace assay
