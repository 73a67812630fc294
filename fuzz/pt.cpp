// Any bytes as a .pt file.
#include "base/memory_file.h"
#include "formats/torch_file.h"
#include "target.h"

namespace assay {

FUZZ_TARGET(pt) {
  const MemoryFile memory(input);
  accepts([&] {
    const TorchFile file(memory.path());
    for (const TorchFile::Tensor& tensor : file.tensors()) {
      accepts([&] { file.form_of(tensor, "x"); });
      // A broadcast tensor may be long, and that says nothing new.
      if (tensor.byte_count() > (std::size_t{1} << 24)) continue;
      accepts([&] {
        const LoadedArray array = file.load(tensor, "x");
        require(array.view.bytes.size() == tensor.byte_count(), "as many bytes as it says");
      });
    }
  });
}

}  // namespace assay
