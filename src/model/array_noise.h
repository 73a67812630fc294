// The distance between a run and the truth in one array, as a whole and by position.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "assay/array.h"

namespace assay {

// Relative L2 distances, at least one rounding to FP32.
struct ArrayNoise {
  double whole = 0;
  std::vector<double> positions;
};

// Compares two float arrays of one shape, of which `oracle` is the truth. Entries that the causal
// mask hides in both are ignored. Computed in double and in element order: the same bits on every
// machine.
ArrayNoise array_noise(const ArrayView& run, const ArrayView& oracle, std::size_t position_axis);

// The positions in a manifest: one character each, 0 to 9 and a to z, for the number of half
// octaves by which the noise exceeds one rounding to FP32, rounded up; z is anything above 2^17.
std::string positions_text(const ArrayNoise& noise);
// None if the text has any other character.
std::optional<std::vector<double>> read_positions(std::string_view text);

}  // namespace assay
