// Which type's grid values lie on.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "assay/grid.h"
#include "base/half.h"

namespace assay {

// Counts values by the coarser types that can represent them. Callers leave out the values that
// tell nothing, such as zeros and a mask's.
class GridCount {
 public:
  void add(float x) {
    ++count_;
    bf16_ += (std::bit_cast<std::uint32_t>(x) & 0xFFFFu) == 0 ? 1 : 0;
    f16_ += f16_to_f32(f32_to_f16(x)) == x ? 1 : 0;
  }
  std::size_t count() const { return count_; }

  // The coarsest grid that at least 98 % of the values lie on.
  Grid grid() const {
    if (is_most(bf16_)) return Grid::kBf16;
    return is_most(f16_) ? Grid::kF16 : Grid::kF32;
  }

 private:
  bool is_most(std::size_t part) const { return part * 100 >= count_ * 98; }

  std::size_t count_ = 0;
  std::size_t bf16_ = 0;
  std::size_t f16_ = 0;
};

}  // namespace assay
