// libFuzzer target: any bytes as a GGUF checkpoint: its tensors, config, tokenizer.json and
// weights. See README.md here.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "assay/error.h"
#include "assay/tokenizer.h"
#include "base/memory_file.h"
#include "model/gguf_config.h"
#include "model/gguf_tensors.h"
#include "model/gguf_tokenizer.h"

namespace {

template <class Read>
void attempt(Read read) {
  try {
    read();
  } catch (const assay::Error& error) {
    if (error.kind() != assay::ErrorKind::kInput) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const assay::MemoryFile memory(std::as_bytes(std::span(data, size)));
  attempt([&] {
    const assay::GgufFile file(memory.path());
    std::vector<float> values;
    for (const assay::GgufTensor& tensor : file.tensors()) {
      values.resize(tensor.elements());
      assay::dequantize(tensor.type, tensor.bytes, values);
    }
    attempt([&] { assay::Tokenizer::parse("fuzz", assay::gguf_tokenizer_json(file)); });
  });
  attempt([&] { assay::gguf_config(assay::GgufParts(memory.path())); });
  attempt(
      [&] { assay::gguf_weights(assay::GgufParts(memory.path()), assay::DequantiseNow::kYes); });
  return 0;
}
