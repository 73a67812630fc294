// Experts' matrices that are stored in one tensor for all of a layer.
#pragma once

#include "formats/safetensors.h"
#include "model/gguf_tensors.h"
#include "models/spec.h"

namespace assay {

// Where a layer's experts are stored as transformers 5 holds them, `experts.gate_up_proj`
// [experts, 2 * width, hidden] and `experts.down_proj` [experts, hidden, width], replaces these by
// tensors with the names of single experts: views into the same bytes. With the last two axes
// exchanged (Qwen3-VL-MoE), the tensors are made in memory, and on_progress is called if that takes
// long. Throws an input error for any other shape, and a system error if memory is not enough.
void split_fused_experts(Weights& weights, const ModelSpec& spec, DequantiseNow now,
                         const OnWeights& on_progress = {});

}  // namespace assay
