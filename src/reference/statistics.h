// What one array looks like, and how far two lie apart.
#pragma once

#include <cstdint>

#include "assay/array.h"

namespace assay {

// min, max, mean and std (population) over the finite elements, in double; 0 where there is none.
struct Statistics {
  double min = 0;
  double max = 0;
  double mean = 0;
  double std = 0;
  std::int64_t nan = 0;
  std::int64_t inf = 0;
  std::int64_t zeros = 0;
};

// Any dtype but BOOL. One pass in element order, so that the figures are the same everywhere.
Statistics statistics(const ArrayView& array);

// Element i as a double, whatever the dtype.
double element(const ArrayView& array, std::size_t i);

// |a - b| / |b| over the first `count` elements of two float arrays, in double; 0 when both are 0.
// Entries that the causal mask hides (both below -1e38) are left out.
double relative_l2(const ArrayView& a, const ArrayView& b, std::size_t count);

}  // namespace assay
