// The taps as the data flows: what a name tells of its model, what it is computed from, which comes
// first.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/taps.h"

namespace assay {

// What the names of recorded arrays tell of their model: number of layers, where it has norms,
// which layers are sparse. Of its types one that has such layers; no sizes.
ModelSpec model_of_names(const std::vector<std::string>& names);

// The residual stream as it enters that layer; of the number of layers, the final norm.
TapPlace stream_into(std::int64_t layer);

// The taps that the place is computed from in a model that has its tap, without weights and tables.
// Of the residual stream: the tap before that wrote it.
std::vector<TapPlace> computed_from(const TapPlace& place, const ModelSpec& model);

}  // namespace assay
