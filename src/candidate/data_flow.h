// Taps in the data flow: where a name is, what it is computed from, which tap comes first.
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

  // In data-flow order.
  friend auto operator<=>(const TapPlace& a, const TapPlace& b) { return a.order() <=> b.order(); }
  friend bool operator==(const TapPlace& a, const TapPlace& b) { return a.order() == b.order(); }
  std::int64_t order() const;
};

// "layer_03_q_proj", with any number of digits; none for other names (input_ids, rope_cos). The
// layer's number must be below kMostLayers, because callers allocate memory for each layer.
std::optional<TapPlace> parse_tap_name(std::string_view name);

// The axis that counts positions in an array of that tap: 1, or 2 for scores and probabilities.
std::size_t position_axis(Tap tap);

// The model as far as the names of recorded arrays tell: number of layers, places of norms, which
// layers are sparse. Its type is one with such layers; sizes are unknown.
ModelSpec model_of_names(const std::vector<std::string>& names);

// The residual stream as it enters that layer; for the number of layers, the final norm.
TapPlace stream_into(std::int64_t layer);

// The taps from which the place is computed in a model that has its tap, without weights and
// tables. For the residual stream: the previous tap that wrote it.
std::vector<TapPlace> computed_from(const TapPlace& place, const ModelSpec& model);

}  // namespace assay
