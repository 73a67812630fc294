// The bytes that each token stands for, by id.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/bpe.h"

namespace assay {

// All bytes in one buffer: a string for each of 150,000 tokens takes longer to make than to fill.
class TokenBytes {
 public:
  // Makes room for `ids` ids and about `bytes` bytes.
  void reserve(std::size_t ids, std::size_t bytes);

  // Adds the token of this text (valid UTF-8), whose id has none yet. Its bytes are what decode
  // appends: those the text stands for in the byte alphabet, or else the text itself. The texts
  // together have less than 4 GiB.
  void add(TokenId id, std::string_view text);

  bool contains(std::size_t id) const { return id < places_.size() && places_[id].begin != kNone; }

  // Empty for an id without a token.
  std::string_view operator[](std::size_t id) const {
    return contains(id) ? std::string_view(bytes_).substr(places_[id].begin, places_[id].length)
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

  std::string bytes_;
  std::vector<Place> places_;
};

}  // namespace assay
