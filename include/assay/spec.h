// Which model: one value that says what the forward pass computes.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "assay/rope.h"
#include "assay/variants.h"

namespace assay {

// Layers are numbered below it: beyond every published model, and layer names have three digits.
constexpr std::int64_t kMostLayers = 1000;
// Experts of a layer at most: beyond every published model.
constexpr std::int64_t kMostExperts = 1024;
// Elements of a head at most: beyond every published model.
constexpr std::int64_t kMostHeadDim = 65536;

// Read from the checkpoint's config.json; names are the config's own.
struct ModelSpec {
  std::string model_type;  // "qwen3", "llama", ...
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t head_dim = 0;  // not hidden_size / num_attention_heads
  std::int64_t max_position_embeddings = 0;
  double rms_norm_eps = 0;
  RopeParameters rope_parameters;
  std::optional<RopeParameters> local_rope_parameters;  // of sliding layers, where they are others
  bool qk_norm = false;  // RMSNorm on queries and keys, before the rotary embedding
  bool qkv_bias = false, o_bias = false, mlp_bias = false;
  bool tie_word_embeddings = false;
  // By layer: whether its attention is within attention.window, its MLP a mixture of experts.
  // Empty: all layers are, where there is a window or a mixture.
  std::vector<bool> sliding_layers;
  std::vector<bool> sparse_layers;

  // The same of all models of a type, and what a port gets wrong: assay diagnose searches among
  // them.
  EmbeddingSpec embedding;
  NormSpec input_norm, q_norm, k_norm, attn_post_norm, mlp_norm, mlp_post_norm, final_norm;
  QkNormSpec qk_norms;
  RopeSpec rope;
  AttentionSpec attention;
  MlpSpec mlp;
  MoeSpec moe;
  BlockSpec block;
  HeadSpec head;
  Store store = Store::kOwn;

  bool operator==(const ModelSpec&) const = default;

  std::int64_t q_size() const { return num_attention_heads * head_dim; }
  std::int64_t kv_size() const { return num_key_value_heads * head_dim; }
  // What scores are multiplied by.
  double attention_scale() const {
    return attention.scale != 0 ? attention.scale : 1.0 / std::sqrt(static_cast<double>(head_dim));
  }
  // Elements of a head that are rotated.
  std::int64_t rotary_dims() const { return rope.dims > 0 ? rope.dims : head_dim; }

  // layers: as sliding_layers. A layer that the model has not is none of those that are named.
  static bool is_among(const std::vector<bool>& layers, std::int64_t layer) {
    const auto index = static_cast<std::size_t>(layer);
    return layers.empty() || (index < layers.size() && layers[index]);
  }
  // All of them.
  std::array<NormSpec*, 7> norms() {
    return {&input_norm, &q_norm, &k_norm, &attn_post_norm, &mlp_norm, &mlp_post_norm, &final_norm};
  }
  bool has_norms_before() const {
    return block.norms == Norms::kBefore || block.norms == Norms::kAround;
  }
  bool has_norms_after() const {
    return block.norms == Norms::kAfter || block.norms == Norms::kAround;
  }
  bool is_sliding(std::int64_t layer) const {
    return attention.window > 0 && is_among(sliding_layers, layer);
  }
  bool is_sparse(std::int64_t layer) const {
    return moe.num_experts > 0 && is_among(sparse_layers, layer);
  }
  const RopeParameters& rope_of(std::int64_t layer) const {
    return local_rope_parameters && is_sliding(layer) ? *local_rope_parameters : rope_parameters;
  }
  // Whether a sequence that grows from `before` to `after` tokens is run again whole, because its
  // keys have other frequencies from now on: transformers does so for Phi-3 (and for no other).
  bool starts_anew(std::int64_t before, std::int64_t after) const {
    const auto limit = static_cast<std::int64_t>(rope_parameters.original_length);
    return model_type == "phi3" && rope_parameters.scaling == RopeScaling::kLongrope &&
           before <= limit && after > limit;
  }
  // The longest sequence that is computed: max_position_embeddings, or what the RoPE scaling
  // stretches the original length to (a model card's YaRN leaves max_position_embeddings as it
  // was). Dynamic scaling knows no end.
  std::int64_t longest_sequence() const {
    constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
    if (rope_parameters.scaling == RopeScaling::kDynamic) return kMost;
    if (rope_parameters.scaling == RopeScaling::kNone) return max_position_embeddings;
    const double stretched = rope_parameters.factor * rope_parameters.original_length;
    return std::max(max_position_embeddings,
                    static_cast<std::int64_t>(std::min(stretched, static_cast<double>(kMost))));
  }
};

// The model types that are computed: "gemma2", "gemma3_text", "llama", ...
std::vector<std::string> model_types();

// Reads DIR/config.json, or what stands for it in a GGUF file. Throws an input error that names the
// field when one is missing, has the wrong type or an impossible value, or when the config asks for
// something this version does not compute (another architecture or activation, bidirectional
// attention). Both layouts are read: `rope_theta` and `rope_scaling` at the top (transformers 4)
// and `rope_parameters` (5).
ModelSpec read_spec(const std::filesystem::path& checkpoint);
// The same of a config.json of any name.
ModelSpec read_spec_file(const std::filesystem::path& config_json);

// When greedy generation stops: the ids of DIR/generation_config.json's `eos_token_id` (a number or
// a list), or config.json's where there is no such file or field; those of a GGUF file (eos, eot,
// eom) are in its metadata. May be empty.
std::vector<std::int64_t> read_eos_token_ids(const std::filesystem::path& directory);

}  // namespace assay
