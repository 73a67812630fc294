// Taps in the data flow: what a tap is computed from, which tap comes first.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/taps.h"

namespace assay {

// The model as far as the names of recorded arrays tell: number of layers, places of norms, which
// layers are sparse. Its type is one with such layers; sizes are unknown.
ModelSpec model_of_names(const std::vector<std::string>& names);

// Whether the model's layers have norms after attention or the MLP, as Gemma's and OLMo 2's do. All
// layers of a model are alike in this. Builds a layer, so callers in a loop keep the answer.
bool has_norms_after(const ModelSpec& model);

// The residual stream as it enters that layer; for the number of layers, the final norm.
TapPlace stream_into(std::int64_t layer);

// The taps from which the place is computed in a model that has its tap, without weights and
// tables. For the residual stream: the previous tap that wrote it.
std::vector<TapPlace> computed_from(const TapPlace& place, const ModelSpec& model);

}  // namespace assay
