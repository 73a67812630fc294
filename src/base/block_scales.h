// Scales of a quantised matrix, one for each block of rows and columns.
#pragma once

#include <cstddef>
#include <span>

namespace assay {

struct BlockScales {
  std::span<const float> values;  // row by row of blocks
  std::size_t rows = 1;           // of a block; the last ones of the matrix may have fewer
  std::size_t cols = 1;
  std::size_t per_row = 1;  // blocks beside each other
  // Whether each scale is 0 or a number whose products with elements in 8 bits are all normal.
  bool moderate = false;
};

}  // namespace assay
