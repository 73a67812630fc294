// Operations that an FP32 engine computes in a coarser type, told by their results alone.
#pragma once

#include <cstdint>
#include <vector>

#include "diagnose/scene.h"
#include "diagnose/search.h"

namespace assay {

struct CoarseOperation {
  Tap tap = Tap::kLogits;
  OperandType type = OperandType::kOwn;
  std::vector<std::int64_t> layers = {};
  double error = 0;  // root mean square over its sites
  double noise = 0;  // of that type
};

// Of the taps whose errors are left and loose, those that lie on a coarser type's grid, in every
// such place no farther off than that type makes them, and in no order.
std::vector<CoarseOperation> coarse_operations(const Scene& scene, const SearchResult& result);

}  // namespace assay
