// To what ggml rounds what a quantised GGUF file's matrices are multiplied with.
#pragma once

#include <filesystem>
#include <vector>

#include "rewrite/held_values.h"

namespace assay {

// Of a checkpoint that is a GGUF file, one for each matrix that layers or head read by: ggml
// rounds activations to the type that goes with the matrix's own. Matrices in FP32 have none. Of
// any other checkpoint nothing.
std::vector<HeldValues> ggml_operands(const std::filesystem::path& checkpoint, std::int64_t layers);

// The file's own (see ggml_operands) where it quantises activations; else all in Q8_0.
std::vector<HeldValues> q8_operands(const std::filesystem::path& checkpoint, std::int64_t layers);

}  // namespace assay
