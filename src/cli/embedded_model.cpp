#include "cli/embedded_model.h"

#ifdef ASSAY_EMBED_MODEL

#include <array>
#include <cstring>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "assay/error.h"
#include "base/atomic_file.h"
#include "base/embed.h"
#include "base/mapped_file.h"
#include "base/users_cache.h"

namespace assay {

namespace fs = std::filesystem;

std::string_view model_config();
std::string_view model_generation_config();
std::string_view model_weights();
std::string_view model_tokenizer();
std::string_view model_tokenizer_config();

namespace {

bool holds(const fs::path& file, std::string_view bytes) {
  const std::optional<FileState> state = state_of(file);
  if (!state || state->size != bytes.size()) return false;
  const MappedFile mapped(file);
  return std::memcmp(mapped.bytes().data(), bytes.data(), bytes.size()) == 0;
}

}  // namespace

fs::path unpacked_model() {
  constexpr const char* kAdvice =
      "an absolute path in XDG_CACHE_HOME or HOME where files can be written, or a checkpoint "
      "directory given with --model";
  const fs::path cache = users_cache();
  if (cache.empty()) {
    throw Error(ErrorKind::kSystem, "the bundled model", "there is no directory to unpack it to",
                kAdvice);
  }
  const fs::path directory = cache / "models" / "tiny-qwen3-" ASSAY_MODEL_HASH;
  std::error_code error;
  fs::create_directories(directory, error);
  if (error) {
    throw Error(ErrorKind::kSystem, directory.string(),
                "the bundled model cannot be unpacked here: " + error.message(), kAdvice);
  }
  const std::array files = {std::pair{"generation_config.json", model_generation_config()},
                            std::pair{"model.safetensors", model_weights()},
                            std::pair{"tokenizer.json", model_tokenizer()},
                            std::pair{"tokenizer_config.json", model_tokenizer_config()},
                            std::pair{"config.json", model_config()}};
  for (const auto& [name, text] : files) {
    if (holds(directory / name, text)) continue;
    AtomicFile file(directory / name);
    file.write(std::as_bytes(std::span(text)));
    file.commit();
  }
  return directory;
}

}  // namespace assay

ASSAY_EMBED(model_config, ASSAY_MODEL "/config.json")
ASSAY_EMBED(model_generation_config, ASSAY_MODEL "/generation_config.json")
ASSAY_EMBED(model_weights, ASSAY_MODEL "/model.safetensors")
ASSAY_EMBED(model_tokenizer, ASSAY_MODEL "/tokenizer.json")
ASSAY_EMBED(model_tokenizer_config, ASSAY_MODEL "/tokenizer_config.json")

#endif
