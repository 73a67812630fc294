// A checkpoint of a few kilobytes, and its reference, made once a run.
#pragma once

#include <nlohmann/json.hpp>

#include "assay/extract.h"
#include "assay/npz.h"
#include "model/synth.h"
#include "target.h"

namespace assay {

inline nlohmann::json small_config() {
  return {{"model_type", "qwen3"},    {"vocab_size", 40},
          {"hidden_size", 16},        {"intermediate_size", 24},
          {"num_hidden_layers", 2},   {"num_attention_heads", 2},
          {"num_key_value_heads", 1}, {"head_dim", 8},
          {"hidden_act", "silu"},     {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-6},     {"rope_theta", 10000},
          {"initializer_range", 0.1}, {"tie_word_embeddings", false},
          {"attention_bias", false},  {"eos_token_id", 39}};
}

// Writes the checkpoint of that config below scratch().
inline std::filesystem::path make_checkpoint(const std::string& name,
                                             const nlohmann::json& config) {
  write_text(scratch() / (name + ".json"), config.dump());
  SynthOptions options;
  options.config = scratch() / (name + ".json");
  options.out = scratch() / name;
  options.seed = 4;
  options.threads = 1;
  synthesize(options);
  return options.out;
}

struct SmallReference {
  std::filesystem::path model;
  std::filesystem::path set;  // of one prompt, with an oracle
  std::vector<Array> arrays;  // of that prompt: every tap of one layer, and what is always there
};

inline SmallReference make_reference() {
  SmallReference made;
  made.model = make_checkpoint("model", small_config());
  made.set = scratch() / "set";
  ExtractOptions options;
  options.model = made.model;
  options.out = made.set;
  options.numerics = {Numerics::kBf16, Numerics::kF64};
  options.taps = {"layer_01_*"};
  options.max_new_tokens = 2;
  options.compression = Compression::kNone;
  options.threads = 1;
  extract(options, {{"p", std::nullopt, {3, 1, 4, 15, 9, 2}}});
  const NpzReader npz(made.set / "p" / "reference.npz");
  for (const std::string& name : npz.names()) made.arrays.push_back(npz.read(name));
  return made;
}

}  // namespace assay
