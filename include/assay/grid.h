// The type in which an engine stores its values.
#pragma once

#include <cstdint>
#include <string_view>

namespace assay {

// Recognised by the values themselves; from the coarsest to the finest.
enum class Grid : std::uint8_t { kBf16, kF16, kF32 };

// "BF16", "F16", "FP32"
constexpr std::string_view grid_name(Grid grid) {
  return grid == Grid::kBf16 ? "BF16" : grid == Grid::kF16 ? "F16" : "FP32";
}

}  // namespace assay
