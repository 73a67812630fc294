// NaN and infinity in weights, which make everything computed with them meaningless.
#pragma once

#include <string>
#include <vector>

#include "formats/safetensors.h"

namespace assay {

// For each tensor with non-finite floats: file, name, the first one with its place, and their
// number: "model.safetensors: tensor 'x': NaN at [3, 17], 6 in all". Tensors that are not in memory
// yet are skipped.
std::vector<std::string> find_not_finite(const Weights& weights);

// Throws an input error if there is one.
void require_finite(const Weights& weights);

}  // namespace assay
