// A GGUF file's tensors under the names and in the order of HuggingFace's checkpoints.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "formats/gguf_parts.h"
#include "formats/safetensors.h"

namespace assay {

enum class DequantiseNow : bool { kNo, kYes };

// Called with the fraction of the weights that has been made, once that has taken two seconds.
using OnWeights = std::function<void(double fraction)>;

// F32, F16 and BF16 tensors are views into the file, with the file's numbers. These are made in
// memory:
//   - quantised ones, as F32;
//   - those whose rows or columns llama.cpp reorders (llama's queries and keys, the value heads of
//     delta rules), in the original order;
//   - norms that it stores plus one: minus one, as F32;
//   - the decay of delta rules, which it stores as -exp(value): the logarithm, as F32.
// The experts of an MoE, one tensor there, become one per expert. Tensors without a known name keep
// theirs, quantised ones as bytes; those that gguf_config uses are left out.
// kNo: tensors that have to be made have no bytes yet.
Weights gguf_weights(GgufParts parts, DequantiseNow now, const OnWeights& on_progress = {});

}  // namespace assay
