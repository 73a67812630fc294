// libFuzzer target: any bytes as a .pt file. See README.md here.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "assay/error.h"
#include "base/memory_file.h"
#include "formats/torch_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const assay::MemoryFile memory(std::as_bytes(std::span(data, size)));
  try {
    const assay::TorchFile file(memory.path());
    for (const assay::TorchFile::Tensor& tensor : file.tensors()) {
      // A broadcast tensor may be long, and that says nothing new.
      if (tensor.byte_count() > (std::size_t{1} << 24)) continue;
      try {
        const assay::LoadedArray array = file.load(tensor, "x");
        if (array.view.bytes.size() != tensor.byte_count()) std::abort();
      } catch (const assay::Error& error) {
        if (error.kind() != assay::ErrorKind::kInput) std::abort();
      }
    }
  } catch (const assay::Error& error) {
    if (error.kind() != assay::ErrorKind::kInput) std::abort();
  }
  return 0;
}
