// Byte-pair encoding: a piece's bytes to token ids by merges, lowest rank first, then leftmost.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace assay {

using TokenId = std::uint32_t;

class Bpe {
 public:
  // For up to max_merges merges.
  explicit Bpe(const std::array<TokenId, 256>& byte_ids = {}, std::size_t max_merges = 0);

  // Adds the merge of next lower priority. False, and nothing added, when the pair has one already.
  bool add(TokenId left, TokenId right, TokenId result);

  // Appends the ids of one piece of the split text.
  void encode(std::string_view piece, std::vector<std::int64_t>& ids) const;

 private:
  static constexpr std::uint32_t kNoMerge = ~std::uint32_t{0};
  struct Slot {
    std::uint64_t pair;
    std::uint32_t rank = kNoMerge;
    TokenId result;
  };

  std::size_t place(std::uint64_t pair) const;
  const Slot& find(TokenId left, TokenId right) const;
  void encode_short(std::string_view piece, std::vector<std::int64_t>& ids) const;
  void encode_long(std::string_view piece, std::vector<std::int64_t>& ids) const;

  std::array<TokenId, 256> byte_ids_;
  std::vector<Slot> slots_;  // open addressing; the size is a power of two
  std::size_t mask_;
  std::uint32_t merges_ = 0;
};

}  // namespace assay
