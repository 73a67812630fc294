// libFuzzer target: any bytes as a .safetensors file. See README.md here.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "assay/error.h"
#include "assay/safetensors.h"
#include "base/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const assay::MemoryFile file(std::as_bytes(std::span(data, size)));
  try {
    const assay::Weights weights = assay::Weights::open_file(file.path());
    std::size_t bytes = 0;
    for (const assay::ArrayView& tensor : weights.tensors()) {
      for (const std::byte byte : tensor.bytes) bytes += byte == std::byte{0} ? 1 : 0;
    }
    if (bytes > size) std::abort();  // tensors may not overlap
  } catch (const assay::Error&) {
  }
  return 0;
}
