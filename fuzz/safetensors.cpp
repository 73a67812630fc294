// Any bytes as a .safetensors.
#include "formats/safetensors.h"

#include "base/memory_file.h"
#include "target.h"

namespace assay {

FUZZ_TARGET(safetensors) {
  const MemoryFile file(input);
  accepts([&] {
    const Weights weights = Weights::open_file(file.path());
    std::size_t bytes = 0;
    for (const ArrayView& tensor : weights.tensors()) {
      for (const std::byte byte : tensor.bytes) bytes += byte == std::byte{0} ? 1 : 0;
      require(weights.find(tensor.name) == &tensor, "a tensor is found by its name");
    }
    require(bytes <= input.size(), "tensors do not overlap");
  });
}

}  // namespace assay
