// The rotary tables of a reference.
#pragma once

#include <cstddef>
#include <vector>

#include "assay/array.h"
#include "models/spec.h"

namespace assay {

// rope_cos and rope_sin, and rope_local_cos and rope_local_sin where the model has them:
// [1, positions, dims], as a run of Real computes them, never rounded to BF16. The prompt is
// computed at once and each later position by itself. store: kF32 or kF64.
template <class Real>
std::vector<Array> rope_arrays(const ModelSpec& spec, std::size_t prompt, std::size_t positions,
                               DType store);

}  // namespace assay
