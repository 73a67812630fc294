// Checkpoints in FP8, as quant_method "fp8" stores them: matrices in F8_E4M3, each with its scales
// in NAME_scale_inv, one for all of it or one for each block of weight_block_size.
#pragma once

#include <filesystem>

#include "formats/safetensors.h"

namespace assay {

// Finds the scales of all matrices in F8_E4M3, and of stacks of them ([experts, rows, cols]).
// Matrices that have none keep none. Scales are FP32 in memory afterwards; the matrices stay as
// they lie in the file. Throws an input error that names file, tensor and field if a shape or
// weight_block_size does not fit.
void find_fp8_scales(Weights& weights, const std::filesystem::path& config_json);

}  // namespace assay
