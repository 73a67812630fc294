// Statistics of one array, and the distance between two.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "assay/array.h"

namespace assay {

// min, max, mean and std (population) over the finite elements, in double; 0 if there are none.
struct Statistics {
  double min = 0;
  double max = 0;
  double mean = 0;
  double std = 0;
  std::int64_t nan = 0;
  std::int64_t inf = 0;
  std::int64_t zeros = 0;
};

// For any dtype except BOOL. One pass in element order, so that the figures are the same
// everywhere.
Statistics statistics(const ArrayView& array);

// Element i as a double, whatever the dtype.
double element(const ArrayView& array, std::size_t i);

// The channels (indices of the last axis) with the largest magnitudes, largest first. NaN is
// skipped.
struct Channel {
  std::size_t index = 0;
  double value = 0;          // the element of largest magnitude, with its sign
  std::size_t position = 0;  // its row: the index over all axes but the last
};
std::vector<Channel> largest_channels(const ArrayView& array, std::size_t count);

// Counts of the finite elements in `bins` equal bins from `low` to `high`. `high` itself is in the
// last bin.
std::vector<std::int64_t> histogram(const ArrayView& array, double low, double high,
                                    std::size_t bins);

// |a - b| / |b| over the first `count` elements of two float arrays, in double; 0 when both are 0.
// Entries that the causal mask hides (both below -1e38) are left out.
double relative_l2(const ArrayView& a, const ArrayView& b, std::size_t count);

}  // namespace assay
