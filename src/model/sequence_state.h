// The states of a growing sequence's operations.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <utility>
#include <variant>
#include <vector>

#include "models/program.h"
#include "ops/kv_cache.h"

namespace assay {

template <class N>
class SequenceState {
 public:
  // program: the one that is run. Reads its sizes and does not keep a reference to it. capacity: in
  // positions.
  SequenceState(const Program& program, std::size_t capacity) : capacity_(capacity) {
    for (std::size_t l = 0; l < program.layers.size(); ++l) {
      const Block& layer = program.layers[l];
      for (std::size_t s = 0; s < layer.steps.size(); ++s) {
        if (!std::holds_alternative<Scores>(layer.steps[s].operation)) continue;
        const std::vector<std::int64_t>& keys = layer.values[layer.steps[s].reads[1]].shape;
        caches_.push_back(
            {{l, s},
             {static_cast<std::size_t>(keys[0]), static_cast<std::size_t>(keys[1]), capacity}});
      }
    }
  }

  std::size_t length() const { return length_; }
  std::size_t capacity() const { return capacity_; }
  // The cache of the attention that begins with this step of the layer.
  KvCache<N>& cache(std::size_t layer, std::size_t step) {
    const std::pair place(layer, step);
    const auto found = std::ranges::lower_bound(caches_, place, {}, &OfStep::place);
    if (found == caches_.end() || found->place != place) {
      throw std::logic_error("a sequence of another program");
    }
    return found->cache;
  }

  // Forgets what comes after this many positions, and keeps the memory.
  void rewind(std::size_t length) { length_ = length; }
  // Call it when the new positions are in place in every layer.
  void advance(std::size_t positions) { length_ += positions; }

 private:
  struct OfStep {
    std::pair<std::size_t, std::size_t> place;  // layer, step
    KvCache<N> cache;
  };

  std::size_t capacity_;
  std::size_t length_ = 0;
  std::vector<OfStep> caches_;  // in order
};

}  // namespace assay
