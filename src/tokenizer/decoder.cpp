#include "tokenizer/decoder.h"

#include <charconv>
#include <optional>

#include "base/utf8.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/normalizer.h"

namespace assay {
namespace {

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

std::string joined(const std::vector<std::string>& tokens, std::string_view between = {}) {
  std::string text;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) text += between;
    text += tokens[i];
  }
  return text;
}

std::string stripped(const StripDecoding& step, std::string_view token) {
  const std::string_view c = step.character;
  for (std::size_t i = 0; i < step.start && token.starts_with(c); ++i)
    token.remove_prefix(c.size());
  for (std::size_t i = 0; i < step.stop && token.ends_with(c); ++i) token.remove_suffix(c.size());
  return std::string(token);
}

struct DecoderRun {
  std::vector<std::string> tokens;

  void operator()(ByteLevelDecoding) {
    std::string bytes;
    for (const std::string& token : tokens) {
      if (!append_symbols_as_bytes(token, bytes)) bytes += token;
    }
    tokens = {utf8_lossy(bytes)};
  }

  // One byte that does not fit spoils the whole run, as in tokenizers.
  void operator()(ByteFallbackDecoding) {
    std::vector<std::string> result;
    std::string bytes;
    const auto end_bytes = [&] {
      if (utf8_valid_prefix(bytes) == bytes.size()) {
        if (!bytes.empty()) result.push_back(bytes);
      } else {
        for (std::size_t i = 0; i < bytes.size(); ++i) result.emplace_back("\uFFFD");
      }
      bytes.clear();
    };
    for (std::string& token : tokens) {
      if (const auto byte = fallback_byte(token)) {
        bytes += *byte;
      } else {
        end_bytes();
        result.push_back(std::move(token));
      }
    }
    end_bytes();
    tokens = std::move(result);
  }

  void operator()(FuseDecoding) { tokens = {joined(tokens)}; }

  void operator()(const ReplaceDecoding& step) {
    for (std::string& token : tokens) token = replaced(token, step.from, step.to);
  }

  void operator()(const StripDecoding& step) {
    for (std::string& token : tokens) token = stripped(step, token);
  }

  void operator()(const MetaspaceDecoding& step) {
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      tokens[i] = replaced(tokens[i], step.replacement, i == 0 && step.drops_first ? "" : " ");
    }
  }
};

}  // namespace

std::string decode(const Decoder& decoder, std::vector<std::string> tokens) {
  if (decoder.joins_with_spaces) return joined(tokens, " ");
  DecoderRun run{std::move(tokens)};
  for (const Decoder::Step& step : decoder.steps) std::visit(run, step);
  return joined(run.tokens);
}

std::string bytes_of_token(const Decoder& decoder, std::string_view token) {
  std::string text(token);
  for (const Decoder::Step& step : decoder.steps) {
    if (std::holds_alternative<ByteLevelDecoding>(step)) {
      std::string bytes;
      return append_symbols_as_bytes(text, bytes) ? bytes : text;
    }
    if (std::holds_alternative<ByteFallbackDecoding>(step)) {
      if (const auto byte = fallback_byte(text)) return std::string(1, *byte);
    } else if (const auto* replace = std::get_if<ReplaceDecoding>(&step)) {
      text = replaced(text, replace->from, replace->to);
    } else if (const auto* metaspace = std::get_if<MetaspaceDecoding>(&step)) {
      text = replaced(text, metaspace->replacement, " ");
    } else if (std::holds_alternative<FuseDecoding>(step)) {
      break;  // what follows is about the whole text's ends
    }
  }
  return text;
}

}  // namespace assay
