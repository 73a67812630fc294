// GPT-2's byte alphabet: the visible code point that stands for each byte in a token's text.
#pragma once

#include <string>
#include <string_view>

namespace assay {

// UTF-8 of the code point that stands for the byte: itself when visible in Latin-1, else one of
// U+0100...U+0143 in order.
std::string byte_symbol(unsigned char byte);

// Appends the bytes that a token's text (valid UTF-8) stands for. Returns false, and appends
// nothing, if a code point does not stand for a byte.
bool append_symbols_as_bytes(std::string_view token, std::string& bytes);

}  // namespace assay
