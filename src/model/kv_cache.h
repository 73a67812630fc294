// Keys (after the rotary embedding) and values of one sequence, for every layer.
#pragma once

#include <cstddef>

#include "assay/spec.h"
#include "base/aligned_vector.h"
#include "numerics/kernels.h"

namespace assay {

template <class N>
class KvCache {
 public:
  using Real = typename N::Real;
  using Cached = typename N::Cached;

  // Room for `capacity` positions.
  KvCache(const ModelSpec& spec, std::size_t capacity)
      : heads_(static_cast<std::size_t>(spec.num_key_value_heads)),
        layout_{static_cast<std::size_t>(spec.head_dim)},
        capacity_(capacity) {
    const auto layers = static_cast<std::size_t>(spec.num_hidden_layers);
    keys_.resize(layers * heads_ * layout_.keys(capacity));
    values_.resize(layers * heads_ * layout_.values(capacity));
  }

  std::size_t length() const { return length_; }
  std::size_t capacity() const { return capacity_; }
  CacheLayout layout() const { return layout_; }

  // One layer and key/value head, as layout() says, from a position on: a multiple of 16 for keys,
  // of 2 for values. The first length() positions are filled.
  const Cached* keys(std::size_t layer, std::size_t head, std::size_t position = 0) const {
    return &keys_[at(layer, head) * layout_.keys(capacity_) + layout_.keys(position)];
  }
  const Cached* values(std::size_t layer, std::size_t head, std::size_t position = 0) const {
    return &values_[at(layer, head) * layout_.values(capacity_) + layout_.values(position)];
  }

  // A position's key and value, [head_dim] each.
  void put(std::size_t layer, std::size_t head, std::size_t position, const Real* key,
           const Real* value) {
    put_key(layout_, &keys_[at(layer, head) * layout_.keys(capacity_)], position,
            [key](std::size_t c) { return N::cached(key[c]); });
    put_value(layout_, &values_[at(layer, head) * layout_.values(capacity_)], position,
              [value](std::size_t c) { return N::cached(value[c]); });
  }

  // Forgets all positions and keeps the memory.
  void clear() { length_ = 0; }
  // The new positions are in place in every layer.
  void advance(std::size_t positions) { length_ += positions; }

 private:
  std::size_t at(std::size_t layer, std::size_t head) const { return layer * heads_ + head; }

  std::size_t heads_;
  CacheLayout layout_;
  std::size_t capacity_;
  std::size_t length_ = 0;
  AlignedVector<Cached> keys_;
  AlignedVector<Cached> values_;
};

}  // namespace assay
