#include <fmt/format.h>

#include "assay/error.h"
#include "base/hash_memory.h"
#include "base/nearest_name.h"
#include "base/program_path.h"
#include "cli/commands.h"
#include "cli/embedded_model.h"
#include "formats/gguf_parts.h"
#include "model/cached_models.h"
#include "model/synth.h"

namespace assay {

namespace fs = std::filesystem;

fs::path bundled_model() {
  std::error_code ignored;
  const fs::path program = program_path();
  fs::path installed =
      (program.parent_path() / ASSAY_MODELS_FROM_PROGRAM / "tiny-qwen3").lexically_normal();
  if (!program.empty() && fs::exists(installed / "config.json", ignored)) return installed;
#ifdef ASSAY_EMBED_MODEL
  return unpacked_model();
#else
#ifdef ASSAY_SOURCE
  fs::path source = ASSAY_SOURCE "/models/tiny-qwen3";
  if (fs::exists(source / "config.json", ignored)) return source;
#endif
  throw input_error(installed.string(), "the bundled model is missing",
                    "a checkpoint directory given with --model");
#endif
}

fs::path model_directory(const std::string& given) {
  if (given.empty()) return bundled_model();
  std::error_code error;
  const fs::file_status status = fs::status(given, error);
  constexpr const char* kExpected =
      "a checkpoint directory with config.json, tokenizer.json and weights, a .gguf file, or the "
      "name of a model in Hugging Face's cache";
  if (!fs::exists(status)) {
    if (const auto cached = cached_model(given)) return *cached;
    const std::vector<std::string> known = known_models();
    const bool is_published = nearest_name(given, known).size() == given.size();
    throw input_error(
        given, "no such file, directory or cached model",
        is_published ? fmt::format("a downloaded checkpoint's directory; 'assay synth --like {0} "
                                   "--out DIR' makes a random one",
                                   nearest_name(given, known))
                     : std::string(kExpected));
  }
  if (const auto gguf = gguf_file_of(given)) return *gguf;
  if (!fs::is_directory(status)) throw input_error(given, "not a directory", kExpected);
  return given;
}

void add_rehash(CLI::App& command) {
  command.add_flag_callback(
      "--rehash", [] { HashMemory::of_user().pass_over(); },
      "Hash the checkpoint's files again instead of using remembered hashes");
}

}  // namespace assay
