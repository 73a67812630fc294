// Experts' matrices that are stored in one tensor for all of a layer.
#pragma once

#include <vector>

#include "formats/safetensors.h"
#include "model/gguf_tensors.h"
#include "models/spec.h"

namespace assay {

// Where a layer's experts are stored as transformers 5 holds them, `experts.gate_up_proj`
// [experts, 2 * width, hidden] and `experts.down_proj` [experts, hidden, width], replaces these by
// tensors with the names of single experts: views into the same bytes. With the last two axes
// exchanged (Qwen3-VL-MoE, gpt-oss), the tensors are made in memory, and on_progress is called if
// that takes long. In MXFP4 (gpt-oss: gate_up_proj_blocks, gate_up_proj_scales, ...) they stay as
// they are stored, with Weights::scales_of(). Biases, experts.gate_up_proj_bias, are split too.
// Throws an input error for any other shape, and a system error if memory is not enough.
void split_fused_experts(Weights& weights, const ModelSpec& spec, DequantiseNow now,
                         const OnWeights& on_progress = {});

// The inverse, for writing gpt-oss: the tensors of single experts replaced by those of all, with
// exchanged axes or in MXFP4.
std::vector<TensorInfo> fused_tensors(std::vector<TensorInfo> tensors, const ModelSpec& spec,
                                      bool in_mxfp4);

}  // namespace assay
