#include "tokenizer/decoder.h"

#include <charconv>
#include <optional>

#include "tokenizer/byte_alphabet.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/utf8.h"

namespace assay {
namespace {

std::string with_spaces(std::string_view token) {
  std::string text;
  text.reserve(token.size());
  for (std::size_t at = 0; at < token.size();) {
    if (token.substr(at).starts_with(kMetaSymbol)) {
      text += ' ';
      at += kMetaSymbol.size();
    } else {
      text += token[at++];
    }
  }
  return text;
}

// The byte of "<0xE2>". tokenizers reads the digits as Rust does: either case, or a plus and one.
std::optional<char> fallback_byte(std::string_view text) {
  if (text.size() != 6 || !text.starts_with("<0x") || text.back() != '>') return std::nullopt;
  const char* begin = text.data() + (text[3] == '+' ? 4 : 3);
  const char* end = text.data() + 5;
  unsigned value = 0;
  const auto [stop, error] = std::from_chars(begin, end, value, 16);
  if (error != std::errc() || stop != end) return std::nullopt;
  return static_cast<char>(static_cast<unsigned char>(value));
}

}  // namespace

void Joiner::add(std::string_view token) {
  if (decoder_.byte_level) {
    if (!append_symbols_as_bytes(token, text_)) text_ += token;
    return;
  }
  const std::string text = with_spaces(token);
  if (const auto byte = fallback_byte(text)) {
    bytes_ += *byte;
  } else {
    end_bytes();
    text_ += text;
  }
}

// One byte that does not fit spoils the whole run, as in tokenizers.
void Joiner::end_bytes() {
  if (utf8_valid_prefix(bytes_) == bytes_.size()) {
    text_ += bytes_;
  } else {
    for (std::size_t i = 0; i < bytes_.size(); ++i) text_ += "\uFFFD";
  }
  bytes_.clear();
}

std::string Joiner::take() {
  if (decoder_.byte_level) return utf8_lossy(text_);
  end_bytes();
  std::size_t strip = 0;
  while (strip < decoder_.strip && strip < text_.size() && text_[strip] == ' ') ++strip;
  return text_.substr(strip);
}

std::string bytes_of_token(const Decoder& decoder, std::string_view token) {
  if (decoder.byte_level) {
    std::string bytes;
    return append_symbols_as_bytes(token, bytes) ? bytes : std::string(token);
  }
  std::string text = with_spaces(token);
  const auto byte = fallback_byte(text);
  return byte ? std::string(1, *byte) : text;
}

}  // namespace assay
