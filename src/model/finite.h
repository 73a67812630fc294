// NaN and infinity in weights: whatever is computed of them says nothing.
#pragma once

#include <string>
#include <vector>

#include "formats/safetensors.h"

namespace assay {

// Of each tensor of floats that has some, file, name, the first one with its place, and how many
// there are: "model.safetensors: tensor 'x': NaN at [3, 17], 6 in all". Tensors that are not in
// memory yet are passed over.
std::vector<std::string> find_not_finite(const Weights& weights);

// Throws an input error where there is one.
void require_finite(const Weights& weights);

}  // namespace assay
