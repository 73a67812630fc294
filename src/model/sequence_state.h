// The states of a growing sequence's operations.
#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "models/program.h"
#include "ops/kv_cache.h"

namespace assay {

template <class N>
class SequenceState {
 public:
  // capacity: in positions. Reads the program's sizes and does not keep a reference to it.
  SequenceState(const Program& program, std::size_t capacity) : capacity_(capacity) {
    caches_.reserve(program.layers.size());
    for (const Block& layer : program.layers) {
      const auto values = std::ranges::find(layer.values, Tap::kVProj, &Value::tap);
      const bool attends = values != layer.values.end();
      caches_.emplace_back(attends ? static_cast<std::size_t>(values->shape[0]) : 0,
                           attends ? static_cast<std::size_t>(values->shape[1]) : 1, capacity);
    }
  }

  std::size_t length() const { return length_; }
  std::size_t capacity() const { return capacity_; }
  // The cache of a layer's attention.
  KvCache<N>& cache(std::size_t layer) { return caches_[layer]; }

  // Forgets what comes after this many positions, and keeps the memory.
  void rewind(std::size_t length) { length_ = length; }
  // Call it when the new positions are in place in every layer.
  void advance(std::size_t positions) { length_ += positions; }

 private:
  std::size_t capacity_;
  std::size_t length_ = 0;
  std::vector<KvCache<N>> caches_;
};

}  // namespace assay
