// Checks whether the dump is what its names say: the commonest cause of a false alarm is that it is
// not.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "assay/comparison.h"
#include "formats/array_file.h"

namespace assay {

// Checks a tensor that failed for: all zeros, NaN, only the last position filled, another tap's
// content (the final norm's output as the last layer's, a residual already added or not yet, layers
// counted from 1). Returns the finding in words. layers: of the model.
std::optional<DumpFinding> check_tensor(const ArrayFile& reference, std::int64_t layers,
                                        const TensorResult& tensor, const ArrayView& candidate);

// Finds the same content under two names for which the reference's arrays differ.
class Twins {
 public:
  explicit Twins(const ArrayFile& reference) : reference_(reference) {}
  std::optional<DumpFinding> add(const TensorResult& tensor, const ArrayView& candidate);

 private:
  const ArrayFile& reference_;
  std::map<std::string, std::string> first_of_;  // content -> tap
};

// Both, over a whole dump; empty if no tensor failed.
std::vector<DumpFinding> check_dump(const ArrayFile& reference, const ArrayFile& candidate,
                                    std::int64_t layers, const std::vector<TensorResult>& tensors);

}  // namespace assay
