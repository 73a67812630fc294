// Which model: one value that says what the forward pass computes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "assay/variants.h"

namespace assay {

// Read from the checkpoint's config.json; names are the config's own.
struct ModelSpec {
  std::string model_type;  // "qwen3"
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t head_dim = 0;  // not hidden_size / num_attention_heads
  std::int64_t max_position_embeddings = 0;
  double rms_norm_eps = 0;
  double rope_theta = 0;
  bool qk_norm = false;  // per-head RMSNorm on queries and keys, before the rotary embedding
  bool tie_word_embeddings = false;

  // What no config of this model type says: the defaults are transformers' Qwen3, and anything else
  // is what a port gets wrong. assay diagnose searches among them.
  EmbeddingSpec embedding;
  NormSpec input_norm, q_norm, k_norm, mlp_norm, final_norm;
  QkNormSpec qk_norms;
  RopeSpec rope;
  AttentionSpec attention;
  MlpSpec mlp;
  BlockSpec block;
  HeadSpec head;
  Store store = Store::kOwn;

  std::int64_t q_size() const { return num_attention_heads * head_dim; }
  std::int64_t kv_size() const { return num_key_value_heads * head_dim; }
};

// Reads DIR/config.json. Throws an input error that names the field when one is missing, has the
// wrong type or an impossible value, or when the config asks for something this version does not
// compute (another architecture, RoPE scaling, sliding windows, attention bias, another
// activation). Both layouts are read: `rope_theta` at the top (transformers 4) and in
// `rope_parameters` (5).
ModelSpec read_spec(const std::filesystem::path& directory);
// The same of a config.json of any name.
ModelSpec read_spec_file(const std::filesystem::path& config_json);

// When greedy generation stops: the ids of DIR/generation_config.json's `eos_token_id` (a number or
// a list), or config.json's where there is no such file or field; may be empty.
std::vector<std::int64_t> read_eos_token_ids(const std::filesystem::path& directory);

}  // namespace assay
