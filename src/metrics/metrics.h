// All metrics of one tensor, in one pass over both arrays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "assay/array.h"
#include "assay/metrics.h"
#include "base/thread_pool.h"
#include "metrics/rows.h"

namespace assay {

// position_axis: index into the reference's shape. pool: null to use only this thread. The result
// does not depend on the pool.
TensorMetrics measure(const ArrayView& reference, std::size_t position_axis,
                      const ArrayView& candidate, const Layout& layout, ThreadPool* pool);

// The root mean square of non-negative errors; 0 if there are none.
double root_mean_square(std::span<const double> errors);
double largest(std::span<const double> errors);

}  // namespace assay
