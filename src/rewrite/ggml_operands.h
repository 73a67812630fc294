// The types to which ggml rounds the inputs of a quantised GGUF file's matrices.
#pragma once

#include <vector>

#include "model/model.h"
#include "rewrite/held_values.h"

namespace assay {

// For a GGUF file, one per matrix of the layers or head: ggml rounds activations to the type that
// belongs to the matrix's own. Matrices in FP32 have none. Empty for any other checkpoint.
std::vector<HeldValues> ggml_operands(const Model& model);

// The file's own (see ggml_operands) if it quantises activations; otherwise all in Q8_0.
std::vector<HeldValues> q8_operands(const Model& model);

}  // namespace assay
