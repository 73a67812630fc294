// The states of a growing sequence's operations.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <utility>
#include <variant>
#include <vector>

#include "models/program.h"
#include "ops/kv_cache.h"
#include "ops/recurrent_state.h"

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
        const Step& step = layer.steps[s];
        if (std::holds_alternative<Scores>(step.operation)) {
          if (const Import* import = layer.import_of(step.reads[1])) {
            readers_.push_back({{l, s}, static_cast<std::size_t>(import->from.layer)});
            continue;
          }
          const std::vector<std::int64_t>& keys = layer.values[step.reads[1]].shape;
          caches_.push_back(
              {{l, s},
               {static_cast<std::size_t>(keys[0]), static_cast<std::size_t>(keys[1]), capacity}});
        } else if (const std::optional<std::size_t> size = recurrent_size(layer, step)) {
          recurrent_.push_back({{l, s}, RecurrentState<N>(*size)});
        }
      }
    }
  }

  std::size_t length() const { return length_; }
  std::size_t capacity() const { return capacity_; }
  // The cache of the attention that begins with this step of the layer, perhaps an earlier layer's.
  KvCache<N>& cache(std::size_t layer, std::size_t step) {
    const auto reader =
        std::ranges::find(readers_, Place(layer, step), &OfStep<std::size_t>::place);
    if (reader == readers_.end()) return find(caches_, layer, step);
    const auto source = std::ranges::find(caches_, reader->state,
                                          [](const auto& cache) { return cache.place.first; });
    if (source == caches_.end()) throw std::logic_error("keys of a layer without attention");
    return source->state;
  }
  // The state of the convolution or delta rule that is this step of the layer.
  RecurrentState<N>& recurrent(std::size_t layer, std::size_t step) {
    return find(recurrent_, layer, step);
  }

  // Forgets what comes after this many positions, and keeps the memory. Recurrent states cannot go
  // back to an earlier position except the first: throws a logic error.
  void rewind(std::size_t length) {
    if (!recurrent_.empty() && length != 0 && length != length_) {
      throw std::logic_error("a sequence with recurrent states cannot be shortened");
    }
    length_ = length;
  }
  // Call it when the new positions are in place in every layer.
  void advance(std::size_t positions) { length_ += positions; }

 private:
  using Place = std::pair<std::size_t, std::size_t>;  // layer, step
  template <class State>
  struct OfStep {
    Place place;
    State state;
  };

  template <class State>
  static State& find(std::vector<OfStep<State>>& states, std::size_t layer, std::size_t step) {
    const Place place(layer, step);
    const auto found = std::ranges::lower_bound(states, place, {}, &OfStep<State>::place);
    if (found == states.end() || found->place != place) {
      throw std::logic_error("a sequence of another program");
    }
    return found->state;
  }

  // The number of values that a step remembers; none if it is not recurrent.
  static std::optional<std::size_t> recurrent_size(const Block& layer, const Step& step) {
    if (const auto* conv = std::get_if<CausalConv>(&step.operation)) {
      const std::int64_t channels = layer.values[step.reads[0]].shape[0];
      return static_cast<std::size_t>((conv->taps - 1) * channels);
    }
    if (const auto* rule = std::get_if<DeltaRule>(&step.operation)) {
      return static_cast<std::size_t>(rule->value_heads * rule->key_dim * rule->value_dim);
    }
    return std::nullopt;
  }

  std::size_t capacity_;
  std::size_t length_ = 0;
  std::vector<OfStep<KvCache<N>>> caches_;    // in order
  std::vector<OfStep<std::size_t>> readers_;  // of the cache of that layer
  std::vector<OfStep<RecurrentState<N>>> recurrent_;
};

}  // namespace assay
