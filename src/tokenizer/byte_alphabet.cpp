#include "tokenizer/byte_alphabet.h"

#include <array>

#include "base/utf8.h"

namespace assay {
namespace {

constexpr char32_t kSymbolEnd = 0x144;

constexpr bool is_visible(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<char32_t, 256> make_symbols() {
  std::array<char32_t, 256> symbols{};
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) symbols[byte] = is_visible(byte) ? byte : next++;
  return symbols;
}

constexpr std::array<char32_t, 256> kSymbols = make_symbols();

// The reverse; -1 where a code point stands for no byte.
constexpr std::array<int, kSymbolEnd> make_bytes() {
  std::array<int, kSymbolEnd> bytes{};
  bytes.fill(-1);
  for (int byte = 0; byte < 256; ++byte) bytes[kSymbols[static_cast<unsigned>(byte)]] = byte;
  return bytes;
}

constexpr std::array<int, kSymbolEnd> kBytes = make_bytes();

}  // namespace

std::string byte_symbol(unsigned char byte) {
  std::string symbol;
  append_utf8(symbol, kSymbols[byte]);
  return symbol;
}

bool append_symbols_as_bytes(std::string_view token, std::string& bytes) {
  const std::size_t before = bytes.size();
  for (std::size_t at = 0; at < token.size();) {
    const Utf8Step step = utf8_step(token, at);
    if (!step.valid || step.code_point >= kSymbolEnd || kBytes[step.code_point] < 0) {
      bytes.resize(before);
      return false;
    }
    bytes += static_cast<char>(kBytes[step.code_point]);
    at += step.length;
  }
  return true;
}

}  // namespace assay
