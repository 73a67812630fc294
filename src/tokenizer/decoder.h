// The decoder of a tokenizer.json: tokens' texts back to text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace assay {

// One step over the list of tokens' texts.
struct ByteLevelDecoding {};     // visible symbols to bytes, all tokens to one text
struct ByteFallbackDecoding {};  // "<0xE2>" to bytes, a run of them to characters
struct FuseDecoding {};          // all tokens to one
struct ReplaceDecoding {
  std::string from;
  std::string to;
};
struct StripDecoding {  // so many of the character at most, at each token's ends
  std::string character;
  std::size_t start;
  std::size_t stop;
};
struct MetaspaceDecoding {
  std::string replacement;
  bool drops_first;  // those of the first token are left out
};

struct Decoder {
  using Step = std::variant<ByteLevelDecoding, ByteFallbackDecoding, FuseDecoding, ReplaceDecoding,
                            StripDecoding, MetaspaceDecoding>;
  std::vector<Step> steps;
  bool joins_with_spaces = false;  // where the file has no decoder
};

// The text that the tokens stand for: valid UTF-8, with U+FFFD for what is not.
std::string decode(const Decoder& decoder, std::vector<std::string> tokens);

// The bytes that one token stands for inside of a text; may be part of a UTF-8 sequence.
std::string bytes_of_token(const Decoder& decoder, std::string_view token);

}  // namespace assay
