// Is the dump what it says it is? The commonest reason for a false alarm is that it is not.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "assay/array_file.h"
#include "assay/compare.h"

namespace assay {

// What compare knows of one prompt while it is at work.
struct PromptArrays {
  const ArrayFile& reference;
  const ArrayFile& candidate;
  std::int64_t layers;
};

// Looks at tensors that failed: all zeros, NaN, only the last position filled, the same content
// under two names, another tap's content (the final norm's output as the last layer's, a residual
// already added or not yet, layers counted from 1). Says what it finds in words.
std::vector<DumpFinding> check_dump(const PromptArrays& arrays,
                                    const std::vector<TensorResult>& tensors);

}  // namespace assay
