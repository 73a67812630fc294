// Byte-pair encoding: a piece's bytes or characters to token ids by merges, lowest rank first, then
// leftmost.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace assay {

using TokenId = std::uint32_t;

inline constexpr TokenId kNoToken = ~TokenId{0};

// Pieces that are a single token regardless of the merges.
class WholePieces {
 public:
  // Reserves space for up to `count` pieces.
  explicit WholePieces(std::size_t count);

  // Adds a piece that is not in the table yet. All pieces together have less than 4 GiB.
  void add(std::string_view piece, TokenId id);

  std::optional<TokenId> find(std::string_view piece) const;

 private:
  struct Slot {
    std::uint32_t begin;
    std::uint32_t length = 0;
    TokenId id = kNoToken;
  };
  std::size_t place(std::string_view piece) const;

  std::string texts_;
  std::vector<Slot> slots_;  // open addressing; the size is a power of two
};

class Bpe {
 public:
  // A piece before any merge: one token per byte or per character. A character without a token is
  // spelled by the tokens of its bytes if each byte has one, else by the unknown token if there is
  // one, and else it is left out.
  struct Alphabet {
    // Whether a piece's symbols are its bytes, which the vocabulary writes as visible characters.
    bool is_bytes = true;
    std::array<TokenId, 256> bytes = filled();  // if is_bytes; kNoToken if there is none
    std::vector<TokenId>
        characters;  // if !is_bytes: by code point; kNoToken or past the end if there is none
    std::array<TokenId, 256> fallback = filled();  // "<0x0A>"
    TokenId unknown = kNoToken;
    bool fuse_unknown = false;  // adjacent unknown characters share one token
    // Set instead of `unknown`: the unknown token's text, which is not in the vocabulary.
    std::string missing_unknown;

    static constexpr std::array<TokenId, 256> filled() {
      std::array<TokenId, 256> none{};
      none.fill(kNoToken);
      return none;
    }
  };

  Bpe() : Bpe(Alphabet{}, 0) {}
  // Reserves space for up to max_merges merges.
  Bpe(Alphabet alphabet, std::size_t max_merges);

  // Adds the merge with the next lower priority. Returns false, and adds nothing, if the pair
  // already has a merge.
  bool add(TokenId left, TokenId right, TokenId result);

  // Makes these pieces encode to their own token, without merges.
  void keep_whole(WholePieces pieces) { whole_ = std::move(pieces); }

  // Appends the ids of one piece of the split text (valid UTF-8). Throws an input error if the
  // unknown token is needed but missing.
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
  std::vector<TokenId> spell(std::string_view piece) const;
  bool fall_back(std::string_view character, std::vector<TokenId>& symbols) const;
  void merge_short(std::span<TokenId> symbols, std::vector<std::int64_t>& ids) const;
  void merge_long(std::span<const TokenId> start, std::vector<std::int64_t>& ids) const;

  Alphabet alphabet_;
  bool every_byte_;  // whether every byte has its own token
  std::optional<WholePieces> whole_;
  std::vector<Slot> slots_;  // open addressing; the size is a power of two
  std::size_t mask_;
  std::uint32_t merges_ = 0;
};

}  // namespace assay
