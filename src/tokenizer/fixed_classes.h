// Character classes for which the tokenizers library has its own tables, each of some old Unicode
// version. They stay the same when Assay's Unicode libraries are updated.
#pragma once

namespace assay {

// For the pre-tokenizers Punctuation and BertPreTokenizer (fixed_punctuation.cpp).
bool is_punctuation(char32_t code_point);

// What the normalizer StripAccents removes (fixed_marks.cpp).
bool is_combining_mark(char32_t code_point);

// The script's number for the pre-tokenizer UnicodeScripts (fixed_scripts.cpp). kAnyScript is for
// characters that go with every script; kana and Han count as one script.
unsigned script_of(char32_t code_point);
inline constexpr unsigned kAnyScript = 0;

}  // namespace assay
