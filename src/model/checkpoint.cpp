#include "model/checkpoint.h"

#include "assay/error.h"
#include "base/mapped_file.h"
#include "formats/gguf_parts.h"
#include "model/fp8_scales.h"
#include "model/gguf_chat.h"
#include "model/gguf_tokenizer.h"
#include "models/gguf_config.h"
#include "models/text_tower.h"

namespace assay {

namespace fs = std::filesystem;

namespace {

// Converts names saved by another class to the causal model's: like transformers, adds the `model.`
// that a base model lacks (every Qwen3-Embedding), and removes the one that a wrapper added, and
// the prefix of a language model within a multimodal one.
std::string causal_name(const std::string& original) {
  const std::string stored = language_name(original);
  constexpr std::string_view kBase = "model.";
  for (const char* part : {"embed_tokens.", "layers.", "norm."}) {
    if (stored.starts_with(part)) return std::string(kBase) + stored;
  }
  for (const char* part : {"model.model.", "model.lm_head."}) {
    if (stored.starts_with(part)) return stored.substr(kBase.size());
  }
  return stored;
}

}  // namespace

OrderedJson read_config(const fs::path& checkpoint, std::string* file) {
  const std::optional<fs::path> gguf = gguf_file_of(checkpoint);
  const fs::path from = gguf ? *gguf : checkpoint / "config.json";
  if (file != nullptr) *file = from.string();
  return gguf ? gguf_config(GgufParts(*gguf)) : load_json(from);
}

Weights open_weights(const fs::path& checkpoint, DequantiseNow now, const OnWeights& on_progress) {
  if (const auto gguf = gguf_file_of(checkpoint)) {
    return gguf_weights(GgufParts(*gguf), now, on_progress);
  }
  Weights weights = Weights::open(checkpoint);
  weights.rename(causal_name);
  find_fp8_scales(weights, checkpoint / "config.json");
  return weights;
}

fs::path tokenizer_file(const fs::path& checkpoint) {
  const std::optional<fs::path> gguf = gguf_file_of(checkpoint);
  return gguf ? *gguf : checkpoint / "tokenizer.json";
}

bool has_tokenizer(const fs::path& checkpoint) {
  const std::optional<fs::path> gguf = gguf_file_of(checkpoint);
  return gguf ? GgufFile(*gguf).has("tokenizer.ggml.tokens")
              : is_there(checkpoint / "tokenizer.json");
}

Tokenizer load_tokenizer(const fs::path& checkpoint) {
  const std::optional<fs::path> gguf = gguf_file_of(checkpoint);
  if (!gguf) return Tokenizer::load(checkpoint / "tokenizer.json");
  return Tokenizer::parse(gguf->string(), gguf_tokenizer_json(GgufFile(*gguf)));
}

std::optional<Tokenizer> try_load_tokenizer(const fs::path& checkpoint) {
  try {
    if (has_tokenizer(checkpoint)) return load_tokenizer(checkpoint);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInput) throw;
  }
  return std::nullopt;
}

ChatTemplate load_chat_template(const fs::path& checkpoint) {
  const std::optional<fs::path> gguf = gguf_file_of(checkpoint);
  return gguf ? gguf_chat_template(GgufFile(*gguf)) : ChatTemplate::load(checkpoint);
}

}  // namespace assay
