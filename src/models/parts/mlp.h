// The gated MLP, or the mixture of experts (MoE) that replaces it.
#pragma once

#include <string_view>

#include "models/builder.h"

namespace assay {

struct MlpTensors {
  std::string_view fused;  // one matrix for gate and up; empty: gate_proj and up_proj
};

// down(activation(gate(x)) * up(x)); in a sparse layer by each of a token's experts.
ValueId mlp(Builder& b, ValueId x, const MlpTensors& tensors = {});

}  // namespace assay
