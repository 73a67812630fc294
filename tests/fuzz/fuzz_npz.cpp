// libFuzzer target: any bytes as a .npz, then as a .npy. See README.md here.
#include <cstddef>
#include <cstdint>
#include <span>

#include "assay/error.h"
#include "assay/npz.h"
#include "base/memory_file.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const assay::MemoryFile file(std::as_bytes(std::span(data, size)));
  try {
    const assay::NpzReader reader(file.path());
    for (const std::string& name : reader.names()) {
      try {
        reader.read(name);
      } catch (const assay::Error&) {
      }
    }
  } catch (const assay::Error&) {
  }
  try {
    assay::read_npy(file.path());
  } catch (const assay::Error&) {
  }
  return 0;
}
