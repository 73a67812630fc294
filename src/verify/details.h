// What a report shows of a tensor in addition to its metrics.
#pragma once

#include <cstddef>

#include "assay/array.h"
#include "assay/comparison.h"
#include "candidate/reading.h"

namespace assay {

// Histograms of both sides and the ten worst elements. Elements that the causal mask hides are
// ignored.
TensorDetail measure_details(const ArrayView& reference, std::size_t position_axis,
                             const ArrayView& candidate, const Reading& reading);

}  // namespace assay
