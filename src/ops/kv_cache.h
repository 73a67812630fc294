// Keys (after the rotary embedding) and values of one sequence in one attention.
#pragma once

#include <cstddef>

#include "base/aligned_vector.h"
#include "numerics/kernels.h"

namespace assay {

template <class N>
class KvCache {
 public:
  using Real = typename N::Real;
  using Cached = typename N::Cached;

  // capacity: positions of key/value heads with head_dim channels.
  KvCache(std::size_t heads, std::size_t head_dim, std::size_t capacity)
      : layout_{head_dim}, capacity_(capacity) {
    keys_.resize(heads * layout_.keys(capacity));
    values_.resize(heads * layout_.values(capacity));
  }

  CacheLayout layout() const { return layout_; }

  // One key/value head, laid out as layout() says, from a position on: a multiple of 16 for keys,
  // of 2 for values.
  const Cached* keys(std::size_t head, std::size_t position = 0) const {
    return &keys_[head * layout_.keys(capacity_) + layout_.keys(position)];
  }
  const Cached* values(std::size_t head, std::size_t position = 0) const {
    return &values_[head * layout_.values(capacity_) + layout_.values(position)];
  }

  // A position's key and value, [head_dim] each.
  void put(std::size_t head, std::size_t position, const Real* key, const Real* value) {
    put_key(layout_, &keys_[head * layout_.keys(capacity_)], position,
            [key](std::size_t c) { return N::cached(key[c]); });
    put_value(layout_, &values_[head * layout_.values(capacity_)], position,
              [value](std::size_t c) { return N::cached(value[c]); });
  }

 private:
  CacheLayout layout_;
  std::size_t capacity_;
  AlignedVector<Cached> keys_;
  AlignedVector<Cached> values_;
};

}  // namespace assay
