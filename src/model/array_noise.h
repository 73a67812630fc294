// How far a run lies from the truth in one array, as a whole and position by position.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "assay/array.h"

namespace assay {

// Relative L2 distances, none below one rounding to FP32.
struct ArrayNoise {
  double whole = 0;
  std::vector<double> positions;
};

// Of two float arrays of one shape, of which `oracle` holds the truth. What the causal mask hides
// in both is left out. In double and in element order: the same bits on every machine.
ArrayNoise array_noise(const ArrayView& run, const ArrayView& oracle, std::size_t position_axis);

// The positions in a manifest: a character each, 0 to 9 and a to z, the number of half octaves by
// which the noise exceeds one rounding to FP32, rounded up; z is anything above 2^17.
std::string positions_text(const ArrayNoise& noise);
// None where the text holds another character.
std::optional<std::vector<double>> read_positions(std::string_view text);

}  // namespace assay
