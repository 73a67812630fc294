// Character classes of which the tokenizers library carries tables of its own, each of some old
// Unicode version: they stay what they are, whatever our libraries learn.
#pragma once

namespace assay {

// Of the pre-tokenizers Punctuation and BertPreTokenizer (fixed_punctuation.cpp).
bool is_punctuation(char32_t code_point);

// What the normalizer StripAccents removes (fixed_marks.cpp).
bool is_combining_mark(char32_t code_point);

// Of the pre-tokenizer UnicodeScripts, by number (fixed_scripts.cpp): kAnyScript for what goes with
// every script; kana and Han are one.
unsigned script_of(char32_t code_point);
inline constexpr unsigned kAnyScript = 0;

}  // namespace assay
