#include "tokenizer/base64.h"

#include <cstdint>

namespace assay {
namespace {

std::optional<std::uint32_t> value_of(char c) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const std::size_t at = kDigits.find(c);
  return at != kDigits.npos ? std::optional(static_cast<std::uint32_t>(at)) : std::nullopt;
}

}  // namespace

std::optional<std::string> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (std::size_t at = 0; at < text.size(); at += 4) {
    const bool last = at + 4 == text.size();
    const std::size_t padding = last && text[at + 3] == '=' ? (text[at + 2] == '=' ? 2 : 1) : 0;
    std::uint32_t bits = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      const auto value = i < 4 - padding ? value_of(text[at + i]) : std::optional(0u);
      if (!value) return std::nullopt;
      bits = bits << 6 | *value;
    }
    // What the padding cuts off is 0.
    if ((bits & ((1u << 8 * padding) - 1)) != 0) return std::nullopt;
    for (std::size_t i = 0; i < 3 - padding; ++i) {
      bytes += static_cast<char>(bits >> (16 - 8 * i) & 0xFFu);
    }
  }
  return bytes;
}

}  // namespace assay
