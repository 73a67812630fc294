// Keys (after the rotary embedding) and values of one sequence, for every layer.
#pragma once

#include <cstddef>

#include "assay/spec.h"
#include "base/aligned_vector.h"

namespace assay {

template <class N>
class KvCache {
 public:
  using Cached = typename N::Cached;

  // Room for `capacity` positions.
  KvCache(const ModelSpec& spec, std::size_t capacity)
      : heads_(static_cast<std::size_t>(spec.num_key_value_heads)),
        head_dim_(static_cast<std::size_t>(spec.head_dim)),
        capacity_(capacity) {
    const auto layers = static_cast<std::size_t>(spec.num_hidden_layers);
    keys_.resize(layers * heads_ * capacity * head_dim_);
    values_.resize(keys_.size());
  }

  std::size_t length() const { return length_; }
  std::size_t capacity() const { return capacity_; }

  // [capacity, head_dim] of one layer and key/value head; the first length() rows are filled.
  Cached* keys(std::size_t layer, std::size_t head) { return &keys_[offset(layer, head)]; }
  Cached* values(std::size_t layer, std::size_t head) { return &values_[offset(layer, head)]; }

  // Forgets all positions and keeps the memory.
  void clear() { length_ = 0; }
  // The new positions are in place in every layer.
  void advance(std::size_t positions) { length_ += positions; }

 private:
  std::size_t offset(std::size_t layer, std::size_t head) const {
    return (layer * heads_ + head) * capacity_ * head_dim_;
  }

  std::size_t heads_;
  std::size_t head_dim_;
  std::size_t capacity_;
  std::size_t length_ = 0;
  AlignedVector<Cached> keys_;
  AlignedVector<Cached> values_;
};

}  // namespace assay
