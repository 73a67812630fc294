// The gated MLP, or the mixture of experts (MoE) that replaces it.
#pragma once

#include <string_view>

#include "models/builder.h"

namespace assay {

// An MoE's names in the checkpoint, within its block.
struct MoeTensors {
  std::string_view block = "mlp";  // empty: the names are the layer's own
  std::string_view router = "gate";
  std::string_view bias = "gate.e_score_correction_bias";  // see RouterSpec
  // Of each expert's matrices.
  std::string_view gate = "gate_proj", up = "up_proj", down = "down_proj";
  std::string_view shared = "shared_experts";
  std::string_view shared_gate = "shared_expert_gate";
  std::string_view expert_scale = "router.per_expert_scale";  // see RouterSpec
};

struct MlpTensors {
  std::string_view fused;  // one matrix for gate and up; empty: gate_proj and up_proj
  MoeTensors moe;
};

// The two parts of a layer that has both side by side: the MLP of all tokens, and each token's
// experts, chosen by `routed_by` and applied to x.
ValueId mlp_of_all(Builder& b, ValueId x);
ValueId routed_experts(Builder& b, ValueId x, ValueId routed_by, const MoeTensors& names, Tap tap);

// down(activation(gate(x)) * up(x)); in a sparse layer by each of a token's experts.
ValueId mlp(Builder& b, ValueId x, const MlpTensors& tensors = {});

}  // namespace assay
