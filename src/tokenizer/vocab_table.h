// A vocabulary while it is read: token text to id.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "tokenizer/bpe.h"

namespace assay {

// The texts live elsewhere, for as long as the table.
class VocabTable {
 public:
  struct Entry {
    std::string_view text;
    TokenId id;
  };

  // For up to `count` tokens.
  explicit VocabTable(std::size_t count);

  // Returns false, and adds nothing, if the text is already in the table.
  bool insert(std::string_view text, TokenId id);

  std::optional<TokenId> find(std::string_view text) const;

  // The id of left + right. Quickest, and no search, when merges come in the order of the tokens
  // they make, as training leaves them.
  std::optional<TokenId> find_joined(std::string_view left, std::string_view right);

  // In the order of insertion.
  const std::vector<Entry>& entries() const { return entries_; }

 private:
  // Small, since a slot is a cache miss and so is each text that is looked at in vain.
  struct Slot {
    std::uint32_t check = 0;  // bits of the hash
    std::uint32_t entry = 0;  // place in entries_ + 1; 0 when free
  };
  struct Place {
    std::size_t slot;  // where the text is, or the free one where it belongs
    std::uint32_t check;
  };
  Place place(std::string_view text) const;

  std::vector<Entry> entries_;
  std::vector<Slot> slots_;  // open addressing; the size is a power of two
  std::size_t next_joined_ = 0;
};

}  // namespace assay
