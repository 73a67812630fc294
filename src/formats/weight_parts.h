// The parts of Weights when a checkpoint is not a safetensors file.
#pragma once

#include <cstddef>
#include <filesystem>
#include <vector>

#include "assay/array.h"
#include "base/aligned_vector.h"
#include "base/mapped_file.h"

namespace assay {

struct WeightParts {
  struct Tensor {
    ArrayView view;  // into one of `files`, or into one of `made`
    std::size_t file = 0;
  };

  std::filesystem::path checkpoint;  // for messages
  std::vector<MappedFile> files;     // sorted by name
  std::vector<Tensor> tensors;
  std::vector<AlignedVector<std::byte>> made;  // tensors whose file contents must be converted
  std::size_t bytes = 0;                       // of all tensors
  bool in_place = true;  // whether all tensors are used directly from the files
};

}  // namespace assay
