// Random checkpoints with the shapes of real models, for tests and benchmarks.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "assay/array.h"

namespace assay {

struct SynthOptions {
  // Set one of the two: a published model's name ("Qwen3-0.6B"), or a config.json to copy.
  std::string like;
  std::filesystem::path config;
  std::filesystem::path out;        // created if missing
  std::filesystem::path tokenizer;  // tokenizer.json to copy; none when empty
  std::uint64_t seed = 0;
  DType dtype = DType::kBF16;  // kBF16, kF16 or kF32
  std::int64_t shards = 1;     // more than one: model-0000k-of-0000n.safetensors and an index
  int threads = 0;
};

// The names that SynthOptions::like takes (in upper or lower case), family by family.
std::vector<std::string> known_models();

// Writes config.json, generation_config.json, the weights and, if given, tokenizer.json. The same
// seed and shape give the same bytes on every machine. Matrices are drawn from an approximate
// normal distribution with the config's initializer_range (0.02), norm weights are spread around 1.
// on_progress: fraction of the weights written. Throws usage errors (unknown name), input errors
// (config) and system errors (disk full).
void synthesize(const SynthOptions& options,
                const std::function<void(double fraction)>& on_progress = {});

}  // namespace assay
