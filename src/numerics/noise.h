// What counts as noise and what as hidden: the figures that all that judge numbers share.
#pragma once

#include "assay/grid.h"

namespace assay {

// Root mean square of the relative error that one rounding makes (measured; see
// docs/validating-your-engine.md). F16 has 3 bits more than BF16, FP32 16.
inline constexpr double kBf16Rounding = 1.66e-3;
constexpr double one_rounding(Grid grid) {
  return grid == Grid::kBf16  ? kBf16Rounding
         : grid == Grid::kF16 ? kBf16Rounding * 0x1p-3
                              : kBf16Rounding * 0x1p-16;
}

// One operation, computed from the candidate's own inputs: a distance is no noise beyond this many
// times the noise.
inline constexpr double kBeyondNoise = 3;
// Up to an array, by a whole run: the same. Correct engines that round elsewhere (fused attention,
// other orders of summation) stay well below; docs/validating-your-engine.md has the figures.
inline constexpr double kBeyondRunNoise = 2;

// The same over what the candidate's own type makes. FP32 engines add up in any order, and our sums
// are among the most exact; docs/validating-your-engine.md has the figures. A single position may
// lie kOnePosition times as far again.
inline constexpr double kBeyondF32 = 16;
inline constexpr double kBeyondF16 = 4;
inline constexpr double kOnePosition = 4;

// A score below this is hidden by a mask, whatever number the engine hides with.
inline constexpr double kHiddenScore = -1e30;
// The same of our own arrays, which hide with the lowest number of their type: a lesser value of
// FP32 may be one.
inline constexpr double kOwnHiddenScore = -1e38;

}  // namespace assay
