// The taps as the data flows: what a name means, what it is computed from, which comes first.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/taps.h"

namespace assay {

struct TapPlace {
  Tap tap = Tap::kEmbeddingOutput;
  std::int64_t layer = -1;  // -1 outside the layers

  // Data-flow order.
  friend auto operator<=>(const TapPlace& a, const TapPlace& b) { return a.order() <=> b.order(); }
  friend bool operator==(const TapPlace& a, const TapPlace& b) { return a.order() == b.order(); }
  std::int64_t order() const;
};

// "layer_03_q_proj", with any number of digits; none for what is no tap (input_ids, rope_cos).
// A layer's number must be below kMostLayers: what follows has room for each layer up to it.
std::optional<TapPlace> parse_tap_name(std::string_view name);

// The axis that counts positions in an array of that tap: 1, or 2 for scores and probabilities.
std::size_t position_axis(Tap tap);

// What the names of recorded arrays tell of their model: number of layers, where it has norms,
// which layers are sparse. Of its types one that has such layers; no sizes.
ModelSpec model_of_names(const std::vector<std::string>& names);

// The residual stream as it enters that layer; of the number of layers, the final norm.
TapPlace stream_into(std::int64_t layer);

// The taps that the place is computed from in a model that has its tap, without weights and tables.
// Of the residual stream: the tap before that wrote it.
std::vector<TapPlace> computed_from(const TapPlace& place, const ModelSpec& model);

}  // namespace assay
