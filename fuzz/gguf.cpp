// Any bytes as a GGUF checkpoint: its tensors, config, tokenizer.json and weights.
#include "base/memory_file.h"
#include "model/gguf_tensors.h"
#include "model/gguf_tokenizer.h"
#include "models/gguf_config.h"
#include "target.h"
#include "tokenizer/tokenizer.h"

namespace assay {

FUZZ_TARGET(gguf) {
  const MemoryFile memory(input);
  const bool is_gguf = accepts([&] {
    const GgufFile file(memory.path());
    std::vector<float> values;
    for (const GgufTensor& tensor : file.tensors()) {
      values.resize(tensor.elements());
      dequantize(tensor.type, tensor.bytes, values);
    }
    accepts([&] { Tokenizer::parse("fuzz", gguf_tokenizer_json(file)); });
  });
  if (!is_gguf) return;
  accepts([&] { gguf_config(GgufParts(memory.path())); });
  accepts([&] { gguf_weights(GgufParts(memory.path()), DequantiseNow::kYes); });
}

}  // namespace assay
