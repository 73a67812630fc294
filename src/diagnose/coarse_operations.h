// Operations that an FP32 engine computes in a coarser type, recognised by their results alone.
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

// Taps with unexplained, loose errors whose values are on a coarser type's grid, with errors of
// that type's size in every such place and without any pattern.
std::vector<CoarseOperation> coarse_operations(const Scene& scene, const SearchResult& result);

}  // namespace assay
