// How a candidate's layout is read: the reference's axes, found in the candidate's memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "assay/array.h"
#include "metrics/rows.h"

namespace assay {

struct Reading : Layout {
  std::string text;     // how it differs from the reference's own layout; empty when it does not
  int strangeness = 0;  // 0 same order of elements, 1 padding or last position, 2 other order
};

// The reading of a row-major array of the reference's own shape.
Reading same_layout(std::span<const std::int64_t> shape);

// Every reading under which `candidate` has the reference's elements, least strange first. Axes of
// size 1 do not count; heads may be split or joined; axes may be in another order; the candidate
// may be padded, hold the last position only, or go on behind the reference's last position.
// position_axis: of the reference.
std::vector<Reading> readings(std::span<const std::int64_t> reference, std::size_t position_axis,
                              std::span<const std::int64_t> candidate);

// Of rotary tables: the reference's rows [.., P, D] hold each angle's value twice, many engines'
// once: [P, D / 2], for these positions or more.
std::vector<Reading> half_table_readings(std::span<const std::int64_t> reference,
                                         std::span<const std::int64_t> candidate);

}  // namespace assay
