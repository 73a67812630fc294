// Added tokens: texts that are always one token, found before the rest of the text is split.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/bpe.h"

namespace assay {

struct AddedToken {
  TokenId id;
  std::string content;  // not empty
  // The text to look for, which decode appends: the content, normalized if `normalized`.
  std::string pattern;
  bool special;
  bool normalized;   // matched against the normalized text
  bool lstrip;       // also consumes the white space before it
  bool rstrip;       // also consumes the white space after it
  bool single_word;  // matches only if no word character is next to it
};

class AddedTokens {
 public:
  AddedTokens() = default;
  // Tokens with the same `normalized` have different patterns.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  struct Part {
    std::size_t begin;
    std::string_view text;
    const AddedToken* token;  // null: text between tokens, not empty
  };
  // Splits a text at its added tokens: first at those that are not `normalized`, then the
  // normalized text in between at the others. A token that strips white space may consume some that
  // is also part of another token, or consume it twice; the tokenizers library does the same.
  std::vector<Part> split(std::string_view text, bool normalized) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  struct Range {
    std::size_t begin = 0;
    std::size_t end = 0;
  };
  struct Group {
    std::vector<std::size_t> places;  // in tokens_, sorted by pattern
    std::array<Range, 256> by_first_byte;
  };
  struct Match {
    std::size_t begin;
    const AddedToken* token;
  };
  // The leftmost token at or after `from`, or the longest if several begin there.
  std::optional<Match> find(const Group& group, std::string_view text, std::size_t from) const;

  std::vector<AddedToken> tokens_;
  std::array<Group, 2> groups_;  // by `normalized`
};

}  // namespace assay
