// The gated MLP, and the mixture of experts that takes its place.
#pragma once

#include <string_view>

#include "models/builder.h"

namespace assay {

struct MlpTensors {
  std::string_view fused;  // one matrix for gate and up; else gate_proj and up_proj
};

// down(activation(gate(x)) * up(x)); of a sparse layer by each of a token's experts.
ValueId mlp(Builder& b, ValueId x, const MlpTensors& tensors = {});

}  // namespace assay
