// A GGUF file's tensors under the names and in the order that HuggingFace's checkpoints have.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "formats/gguf_parts.h"
#include "formats/safetensors.h"

namespace assay {

enum class DequantiseNow : bool { kNo, kYes };

// Told how much of the weights has been made, 0 to 1, once that has taken two seconds.
using OnWeights = std::function<void(double fraction)>;

// F32, F16 and BF16 tensors are views into the file, with the file's numbers. Made in memory are:
//   - quantised ones, as F32;
//   - llama's queries and keys, whose rows llama.cpp reorders, in the order of before;
//   - Gemma's norms, which it stores plus one: minus one, as F32;
// so the experts of a mixture, one tensor there, are one for each expert. Tensors that no name is
// known for keep theirs, quantised ones as bytes; those that gguf_config uses are left out.
// kNo: those that are to be made have no bytes yet.
Weights gguf_weights(GgufParts parts, DequantiseNow now, const OnWeights& on_progress = {});

}  // namespace assay
