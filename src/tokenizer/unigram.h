// The Unigram model: a piece to the tokens whose scores have the greatest sum.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tokenizer/bpe.h"

namespace assay {

class Unigram {
 public:
  struct Token {
    std::string_view text;  // need not outlive the constructor
    double score;           // finite
  };

  // The vocabulary by id, no text twice. unknown: the token for a character that no token is,
  // scored 10 below the lowest of all. falls_back: what is unknown is spelled by the tokens of its
  // bytes, "<0x0A>", where each of them has one.
  Unigram(std::span<const Token> vocabulary, std::optional<TokenId> unknown, bool falls_back);

  // Appends the ids of one piece (valid UTF-8); of equal sums the one that came first, as in
  // tokenizers. Throws an input error where the unknown token is needed and there is none.
  // Thread-safe.
  void encode(std::string_view piece, std::vector<std::int64_t>& ids) const;

 private:
  // Of the tree of the tokens' bytes. A node's children lie side by side, by their bytes.
  struct Node {
    std::uint32_t children = 0;  // where the first is
    std::uint16_t count = 0;
    std::uint8_t byte = 0;  // that leads here
    TokenId token = kNoToken;
  };
  // The best way to an offset in the piece: its last token and the sum of all.
  struct Way {
    double score = 0;
    std::size_t begin = kNowhere;
    TokenId token = kNoToken;
  };
  static constexpr std::size_t kNowhere = ~std::size_t{0};

  void grow(std::span<const Token> vocabulary);
  const Node* child(const Node& node, char byte) const;
  std::optional<TokenId> find(std::string_view text) const;
  std::vector<Way> best_ways(std::string_view piece) const;
  void spell_unknown(std::string_view text, std::vector<std::int64_t>& ids) const;

  std::vector<Node> nodes_;  // the root first
  std::vector<double> scores_;
  std::optional<TokenId> unknown_;
  double unknown_score_;
  std::array<TokenId, 256> fallback_ = Bpe::Alphabet::filled();
};

}  // namespace assay
