// The text of each token by id, as written in the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/bpe.h"

namespace assay {

// All texts are in one buffer: making 150,000 separate strings takes longer than filling them.
class TokenTexts {
 public:
  // Reserves space for `ids` ids and about `bytes` bytes.
  void reserve(std::size_t ids, std::size_t bytes);

  // Sets the text of an id, replacing any earlier one. All texts together have less than 4 GiB.
  void set(TokenId id, std::string_view text);

  bool contains(std::size_t id) const { return id < places_.size() && places_[id].begin != kNone; }

  // The token's text; empty for an id without a token.
  std::string_view operator[](std::size_t id) const {
    return contains(id) ? std::string_view(texts_).substr(places_[id].begin, places_[id].length)
                        : std::string_view();
  }

  // Highest id + 1.
  std::size_t size() const { return places_.size(); }

 private:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};
  struct Place {
    std::uint32_t begin = kNone;
    std::uint32_t length = 0;
  };

  std::string texts_;
  std::vector<Place> places_;
};

}  // namespace assay
