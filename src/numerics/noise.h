// The limits of noise and of hidden scores, shared by everything that judges numbers.
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

// For one operation, computed from the candidate's own inputs: a distance above this many times the
// noise is an error.
inline constexpr double kBeyondNoise = 3;
// The same limit for an array of a whole run. Correct engines that round differently (fused
// attention, other orders of summation) stay well below; docs/validating-your-engine.md has the
// figures.
inline constexpr double kBeyondRunNoise = 2;

// The same limit in units of the noise of the candidate's own type. FP32 engines sum in any order,
// and Assay's sums are among the most exact; docs/validating-your-engine.md has the figures. A
// single position may reach kOnePosition times this limit.
inline constexpr double kBeyondF32 = 16;
inline constexpr double kBeyondF16 = 4;
inline constexpr double kOnePosition = 4;

// A score below this is hidden by a mask, whatever number the engine uses for it.
inline constexpr double kHiddenScore = -1e30;
// The same limit for Assay's own arrays, which hide with the lowest number of their type. Higher
// FP32 values may be real scores.
inline constexpr double kOwnHiddenScore = -1e38;

}  // namespace assay
