// What Weights are made of when a checkpoint is no safetensors file.
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
  std::vector<AlignedVector<std::byte>> made;  // tensors that do not lie in a file as they are used
  std::size_t bytes = 0;                       // of all tensors, wherever they lie
  bool in_place = true;                        // none was, or is to be, made
};

}  // namespace assay
