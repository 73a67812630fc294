// UTF-8, step by step (Unicode 15.0, table 3-7: no surrogates, no overlong forms, at most
// U+10FFFF).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace assay {

struct Utf8Step {
  char32_t code_point;  // meaningful when valid
  std::size_t length;   // bytes to go on by; for an invalid step the maximal subpart (at least 1)
  bool valid;
};

// The code point at `at` (below text.size()).
Utf8Step utf8_step(std::string_view text, std::size_t at);

// Where the code point that ends before `at` begins. The text is valid UTF-8; `at` is above 0.
std::size_t utf8_step_back(std::string_view text, std::size_t at);

// Offset of the first byte that is not valid UTF-8; text.size() if all bytes are.
std::size_t utf8_valid_prefix(std::string_view text);

// A copy in which every maximal invalid subpart is U+FFFD, as Rust's String::from_utf8_lossy.
std::string utf8_lossy(std::string_view bytes);

// Appends a code point that is a Unicode scalar value.
void append_utf8(std::string& text, char32_t code_point);

}  // namespace assay
