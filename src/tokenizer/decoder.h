// The decoder of a tokenizer.json: tokens' texts back to text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace assay {

struct Decoder {
  // Whether texts are in the byte alphabet. Otherwise they are as SentencePiece writes them: meta
  // symbols for spaces, "<0xE2>" for a byte that no other token has.
  bool byte_level = true;
  std::size_t strip = 0;  // so many spaces at most are taken from the decoded text's beginning
};

// Joins tokens to the text they stand for.
class Joiner {
 public:
  explicit Joiner(const Decoder& decoder) : decoder_(decoder) {}

  void add(std::string_view token);

  // The text: valid UTF-8, with U+FFFD for what is not.
  std::string take();

 private:
  void end_bytes();

  Decoder decoder_;
  std::string text_;
  std::string bytes_;  // of the "<0xE2>" tokens at the end
};

// The bytes that one token stands for by itself; may be part of a UTF-8 sequence.
std::string bytes_of_token(const Decoder& decoder, std::string_view token);

}  // namespace assay
