// Added tokens: text that is one token wherever it stands, found before the text is cut.
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
  // What is looked for, and what decode appends: the content, normalized when `normalized`.
  std::string pattern;
  bool special;
  bool normalized;   // looked for in the normalized text
  bool lstrip;       // takes the white space before it along
  bool rstrip;       // and behind it
  bool single_word;  // no word may go on before or behind it
};

class AddedTokens {
 public:
  AddedTokens() = default;
  // No two of the same `normalized` have the same pattern.
  explicit AddedTokens(std::vector<AddedToken> tokens);

  struct Part {
    std::size_t begin;
    std::string_view text;
    const AddedToken* token;  // null: text between tokens, not empty
  };
  // Cuts a text at its added tokens: at those not `normalized`, then what is between, once it is
  // normalized, at the others. A token that strips white space may take some that another token
  // is then found in, or twice; tokenizers does the same.
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
  // The leftmost token at or after `from`; of several there the longest.
  std::optional<Match> find(const Group& group, std::string_view text, std::size_t from) const;

  std::vector<AddedToken> tokens_;
  std::array<Group, 2> groups_;  // by `normalized`
};

}  // namespace assay
