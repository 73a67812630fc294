// The gated MLP, or the mixture of experts (MoE) that replaces it.
#pragma once

#include <string_view>

#include "models/builder.h"

namespace assay {

// An MoE's names in the checkpoint, within its block.
struct MoeTensors {
  std::string_view block = "mlp";
  std::string_view router = "gate";
  std::string_view bias = "gate.e_score_correction_bias";  // see RouterSpec
  // Of each expert's matrices.
  std::string_view gate = "gate_proj", up = "up_proj", down = "down_proj";
  std::string_view shared = "shared_experts";
  std::string_view shared_gate = "shared_expert_gate";
};

struct MlpTensors {
  std::string_view fused;  // one matrix for gate and up; empty: gate_proj and up_proj
  MoeTensors moe;
};

// down(activation(gate(x)) * up(x)); in a sparse layer by each of a token's experts.
ValueId mlp(Builder& b, ValueId x, const MlpTensors& tensors = {});

}  // namespace assay
