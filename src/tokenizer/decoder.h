// The decoder of a tokenizer.json: tokens' texts back to text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace assay {

// The steps of a decoder. Each transforms the list of tokens' texts.
struct ByteLevelDecoding {};     // visible symbols to bytes, all tokens to one text
struct ByteFallbackDecoding {};  // "<0xE2>" to bytes, a run of them to characters
struct FuseDecoding {};          // all tokens to one
struct ReplaceDecoding {
  std::string from;
  std::string to;
};
struct StripDecoding {  // removes at most this many of the character at each token's ends
  std::string character;
  std::size_t start;
  std::size_t stop;
};
struct MetaspaceDecoding {
  std::string replacement;
  bool drops_first;  // the first token's leading symbols are dropped
};

struct Decoder {
  using Step = std::variant<ByteLevelDecoding, ByteFallbackDecoding, FuseDecoding, ReplaceDecoding,
                            StripDecoding, MetaspaceDecoding>;
  std::vector<Step> steps;
  bool joins_with_spaces = false;  // when the file has no decoder
};

// The text of the tokens as valid UTF-8; invalid bytes become U+FFFD.
std::string decode(const Decoder& decoder, std::vector<std::string> tokens);

// The bytes of one token within a text. They may be a part of a UTF-8 sequence.
std::string bytes_of_token(const Decoder& decoder, std::string_view token);

}  // namespace assay
