// The models in which mistakes are made and named again, and their runs.
#pragma once

#include <filesystem>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/temporary_directory.h"
#include "diagnose/catalog.h"
#include "diagnose/replay.h"
#include "model/families.h"
#include "model/synth.h"

namespace assay {

// 12 layers, so that their names sort differently as text; an untied head.
inline constexpr std::string_view kConfig = R"({
  "architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "head_dim": 16,
  "hidden_act": "silu", "hidden_size": 48, "initializer_range": 0.08, "intermediate_size": 96,
  "max_position_embeddings": 512, "model_type": "qwen3", "num_attention_heads": 4,
  "num_hidden_layers": 12, "num_key_value_heads": 2, "rms_norm_eps": 1e-4, "rope_scaling": null,
  "rope_theta": 1000000, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
  "use_sliding_window": false, "vocab_size": 300})";

// The model above, and one of every type.
inline const std::vector<std::pair<std::string, nlohmann::json>>& configs() {
  static const auto all = [] {
    auto made = family_configs();
    made.insert(made.begin(), {"twelve layers", nlohmann::json::parse(kConfig)});
    return made;
  }();
  return all;
}

inline const std::filesystem::path& checkpoint(std::size_t model = 0) {
  static const TemporaryDirectory directory;
  static std::map<std::size_t, std::filesystem::path> made;
  if (!made.contains(model)) {
    const std::string name = std::to_string(model);
    write_text(directory / (name + ".json"), configs()[model].second.dump());
    SynthOptions options;
    options.config = directory / (name + ".json");
    options.out = directory / name;
    options.seed = 4;
    synthesize(options);
    made[model] = options.out;
  }
  return made[model];
}

inline std::vector<std::int64_t> some_ids(std::int64_t count, std::int64_t vocab = 300) {
  std::vector<std::int64_t> ids;
  for (std::int64_t i = 0; i < count; ++i) ids.push_back((i * 7919 + 13) % vocab);
  return ids;
}

inline constexpr std::int64_t kTokens = 24;

inline Evidence run_with(const Model& model, const Hypothesis& hypothesis, ThreadPool& pool,
                         Rounding rounding = Rounding::kBf16) {
  return own_run(
      model, hypothesis, some_ids(kTokens, model.spec.vocab_size),
      [](Tap, std::int64_t) { return true; }, pool, rounding);
}

inline std::size_t config_of_type(std::string_view type) {
  for (std::size_t m = 0; m < configs().size(); ++m) {
    if (configs()[m].second.at("model_type") == type) return m;
  }
  throw std::runtime_error("no model of that type");
}

// The program must outlive it, as the spec must.
inline Circumstances circumstances(const ModelSpec& spec, const Program& program) {
  return {.spec = spec,
          .program = program,
          .tied_head = spec.tie_word_embeddings,
          .loose = true,
          .positions = kTokens,
          .first_bad_position = kTokens / 2,
          .bad_layers = {spec.num_hidden_layers - 1}};
}

}  // namespace assay
