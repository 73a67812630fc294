// Added tokens: text that is one token wherever it stands, found before anything else happens.
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
  bool special;
};

class AddedTokens {
 public:
  AddedTokens() = default;
  explicit AddedTokens(std::vector<AddedToken> tokens);

  struct Match {
    std::size_t begin;
    const AddedToken* token;
  };
  // The leftmost added token at or after `from`; of several there the longest.
  std::optional<Match> find(std::string_view text, std::size_t from) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }

 private:
  std::vector<AddedToken> tokens_;
  // Places in tokens_ by first byte, longest content first.
  std::array<std::vector<std::size_t>, 256> by_first_byte_;
};

}  // namespace assay
