// White space and words as Rust's regex crate (Unicode 16) has them: tokenizers asks it about the
// neighbours of added tokens.
#pragma once

namespace assay {

bool is_white_space(char32_t code_point);  // \s

bool is_word(char32_t code_point);  // \w

// char::is_numeric (Unicode 17).
bool is_numeric(char32_t code_point);

}  // namespace assay
