// Elements of any dtype as float or double.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "assay/array.h"

namespace assay {

// Writes element i, found `stride` bytes after element i - 1, to out[i]; data may be unaligned.
// double represents all values exactly except 64-bit integers above 2^53; float represents those of
// F32 and smaller types.
template <class Real>
void widen(DType dtype, const std::byte* first, std::ptrdiff_t stride, std::span<Real> out);

// All elements of an array, in its order.
std::vector<double> widened(const ArrayView& array);

}  // namespace assay
