// The model: one value that defines what the forward pass computes.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "numerics/rope.h"

namespace assay {

// The part of a model that a type's models share, and that its config may set. The defaults are
// those of transformers' Llama and Qwen.
struct EmbeddingSpec {
  double scale = 1;  // factor of the rows, itself rounded first (Gemma: sqrt(hidden_size))
  bool operator==(const EmbeddingSpec&) const = default;
};

// RMSNorm: x / sqrt(mean(x^2) + eps) * weight.
struct NormSpec {
  bool one_plus = false;      // times 1 + weight (Gemma)
  bool rounded_once = false;  // only after the weight, not also before it (Gemma, OLMo 2)
  bool operator==(const NormSpec&) const = default;
};

struct QkNormSpec {
  bool full_width = false;  // over all heads together, with one weight per channel (OLMo 2)
  bool operator==(const QkNormSpec&) const = default;
};

// Rotary embedding: pairs (i, i + dims/2), angles by the spec's RopeParameters.
struct RopeSpec {
  std::int64_t dims = 0;      // only the first elements of a head are rotated (Phi); 0: all
  bool rounded_once = false;  // only the sum is rounded, not tables and products (OLMo 2)
  bool operator==(const RopeSpec&) const = default;
};

struct AttentionSpec {
  double scale = 0;         // factor of the scores (Gemma has its own); 0: 1 / sqrt(head_dim)
  std::int64_t window = 0;  // in sliding layers a query sees this many positions; 0: all
  double softcap = 0;       // cap * tanh(score / cap) (Gemma 2); 0: none
  // Queries grow with their position: see ScaleByPosition (Ministral 3). 0: they do not.
  double growth = 0;
  double growth_length = 0;
  bool gated = false;   // its result is multiplied by the sigmoid of a gate (Qwen3.5)
  bool v_norm = false;  // RMSNorm without weight on each head of the values (Gemma 4)
  bool sinks = false;   // each head has one more score in its softmax (gpt-oss)
  bool operator==(const AttentionSpec&) const = default;
};

// The gated delta rule, which replaces the attention of linear layers (Qwen3.5).
struct DeltaSpec {
  std::int64_t key_heads = 0, value_heads = 0;  // each key head serves value_heads / key_heads
  std::int64_t key_dim = 0, value_dim = 0;      // of a head
  std::int64_t conv_taps = 0;                   // inputs that the convolution sees
  bool operator==(const DeltaSpec&) const = default;

  std::int64_t key_size() const { return key_heads * key_dim; }
  std::int64_t value_size() const { return value_heads * value_dim; }
  // Queries, keys and values side by side.
  std::int64_t conv_size() const { return 2 * key_size() + value_size(); }
};

// The heads of a layer's attention.
struct Heads {
  std::int64_t queries = 0, keys = 0;  // how many; as many values as keys
  std::int64_t head_dim = 0;
  bool keys_are_values = false;  // values are made from k_proj's result, without a matrix of theirs
  bool operator==(const Heads&) const = default;

  std::int64_t q_size() const { return queries * head_dim; }
  std::int64_t kv_size() const { return keys * head_dim; }
};

// Each layer's own small embedding of the token, which is gated by the residual stream and added to
// it at the layer's end (Gemma 4 E2B and E4B).
struct PerLayerInputSpec {
  std::int64_t width = 0;  // 0: none
  std::int64_t vocab = 0;  // rows of its table
  bool operator==(const PerLayerInputSpec&) const = default;
};

enum class Activation : std::uint8_t {
  kSilu,
  kGeluTanh,  // GELU's tanh approximation (Gemma)
  kSwish,     // x * sigmoid(alpha * x), each step rounded (gpt-oss)
};

struct MlpSpec {
  Activation activation = Activation::kSilu;
  // Of kSwish; see Gate.
  double alpha = 1;
  double limit = 0;
  bool up_plus_one = false;
  bool operator==(const MlpSpec&) const = default;
};

enum class RouterFunction : std::uint8_t { kSoftmax, kSigmoid };

// How a token's experts and their weights follow from its hidden state: logits, scores, choice,
// weights. The defaults are those of Qwen3-MoE.
struct RouterSpec {
  bool fp32_logits = false;  // not rounded
  bool logit_bias = false;   // added to the logits before they are rounded
  // Experts are chosen by their logits, and weighted by the softmax of the chosen ones (gpt-oss).
  bool softmax_of_chosen = false;
  RouterFunction function = RouterFunction::kSoftmax;
  enum class Bias : std::uint8_t {
    kNone,
    kRounded,                                // to the run's type when it is loaded (MiniMax M2)
    kOwnType,                                // as it is stored (GLM-4.5)
  } bias = Bias::kNone;                      // added to the scores for the choice only
  std::int64_t groups = 1, kept_groups = 1;  // see TopExperts
  bool sorted = true;
  bool norm_topk_prob = false;  // the weights of a token's experts add up to 1
  double norm_eps = 0;          // added to their sum
  double factor = 1;            // of the weights
  bool expert_scales = false;   // each weight times a learned factor of its expert (Gemma 4)
  bool rounded = true;  // weights, and their products with the outputs; otherwise both are FP32
  bool operator==(const RouterSpec&) const = default;
};

// A mixture of experts (MoE) instead of the MLP: each token's output is the weighted sum of those
// of its num_experts_per_tok experts.
struct MoeSpec {
  std::int64_t num_experts = 0;  // 0: none
  std::int64_t num_experts_per_tok = 0;
  std::int64_t intermediate_size = 0;  // per expert
  bool biased = false;                 // each of an expert's matrices has a bias
  RouterSpec router;
  std::int64_t shared_size = 0;  // intermediate size of the expert of all tokens; 0: none
  bool shared_gated = false;     // its output is multiplied by the sigmoid of a gate
  bool operator==(const MoeSpec&) const = default;
};

struct HeadSpec {
  double softcap = 0;  // cap * tanh(logit / cap) (Gemma 2); 0: none
  bool operator==(const HeadSpec&) const = default;
};

// An upper bound beyond every published model; layer names have at most three digits.
constexpr std::int64_t kMostLayers = 1000;
// The most experts of a layer, beyond every published model.
constexpr std::int64_t kMostExperts = 1024;
// The most inputs that a convolution sees, beyond every published model.
constexpr std::int64_t kMostConvTaps = 64;
// The most elements of a head, beyond every published model.
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
  std::int64_t head_dim = 0;  // not always hidden_size / num_attention_heads
  std::int64_t max_position_embeddings = 0;
  double rms_norm_eps = 0;
  RopeParameters rope_parameters;
  std::optional<RopeParameters> local_rope_parameters;  // of sliding layers, if they differ
  bool qk_norm = false;  // RMSNorm on queries and keys, before the rotary embedding
  bool qkv_bias = false, o_bias = false, mlp_bias = false;
  bool tie_word_embeddings = false;
  // Fused experts are stored with their last two axes exchanged, where the shape does not tell.
  bool exchanged_experts = false;
  // Where gate and up are stored in one tensor, their rows alternate.
  bool interleaved_experts = false;
  bool runs_anew_when_long = false;  // see starts_anew(); Phi-3, as in transformers
  // By layer: whether its attention is limited to attention.window, and whether its MLP is an MoE.
  // Empty: all layers, if there is a window or an MoE.
  std::vector<bool> sliding_layers;
  std::vector<bool> sparse_layers;
  // By layer: whether it runs the delta rule instead of attention. Empty: none.
  std::vector<bool> linear_layers;
  // Of the layers that do not slide, if they have others than the sliding ones.
  std::optional<Heads> global_heads;
  // So many of the last layers have no keys and values of their own; see kv_source().
  std::int64_t kv_shared_layers = 0;
  bool wide_shared_mlps = false;  // their MLPs are twice as wide

  EmbeddingSpec embedding;
  NormSpec norm;  // all norms
  QkNormSpec qk_norms;
  RopeSpec rope;
  AttentionSpec attention;
  DeltaSpec delta;
  MlpSpec mlp;
  MoeSpec moe;
  HeadSpec head;
  PerLayerInputSpec per_layer_input;

  bool operator==(const ModelSpec&) const = default;

  std::int64_t q_size() const { return num_attention_heads * head_dim; }
  std::int64_t kv_size() const { return num_key_value_heads * head_dim; }
  // The factor of the scores.
  double attention_scale() const {
    return attention.scale != 0 ? attention.scale : 1.0 / std::sqrt(static_cast<double>(head_dim));
  }
  // The rotary table that turns the layer's heads: one of ropes_of().
  std::size_t rope_table(std::int64_t layer) const {
    return local_rope_parameters && is_sliding(layer) ? 1 : 0;
  }
  // The number of elements of a head that are rotated: of head_dim, or by that table of ropes_of().
  std::int64_t rotary_dims() const { return rope.dims > 0 ? rope.dims : head_dim; }
  std::int64_t rotary_dims(std::size_t table) const {
    return table == 0 && global_heads ? global_heads->head_dim : rotary_dims();
  }

  // layers: see sliding_layers. A layer beyond the model's is not among the listed ones.
  static bool is_among(const std::vector<bool>& layers, std::int64_t layer) {
    const auto index = static_cast<std::size_t>(layer);
    return layers.empty() || (index < layers.size() && layers[index]);
  }
  bool is_sliding(std::int64_t layer) const {
    return attention.window > 0 && is_among(sliding_layers, layer);
  }
  bool is_sparse(std::int64_t layer) const {
    return moe.num_experts > 0 && is_among(sparse_layers, layer);
  }
  Heads heads(std::int64_t layer) const {
    if (global_heads && !is_sliding(layer)) return *global_heads;
    return {num_attention_heads, num_key_value_heads, head_dim};
  }
  // The smallest head of any layer.
  std::int64_t least_head_dim() const {
    return global_heads ? std::min(head_dim, global_heads->head_dim) : head_dim;
  }
  // The layer whose keys and values this one reads, if it has none of its own: the last one of its
  // kind that has.
  std::optional<std::int64_t> kv_source(std::int64_t layer) const {
    const std::int64_t first = num_hidden_layers - kv_shared_layers;
    if (layer < first) return std::nullopt;
    for (std::int64_t l = first - 1; l >= 0; --l) {
      if (is_sliding(l) == is_sliding(layer)) return l;
    }
    return std::nullopt;
  }
  // The width of the layer's dense MLP.
  std::int64_t mlp_width(std::int64_t layer) const {
    return kv_source(layer) && wide_shared_mlps ? 2 * intermediate_size : intermediate_size;
  }
  bool is_linear(std::int64_t layer) const {
    return !linear_layers.empty() && is_among(linear_layers, layer);
  }
  // Whether a sequence that grows from `before` to `after` tokens is run again from its start,
  // because its keys have other frequencies from then on.
  bool starts_anew(std::int64_t before, std::int64_t after) const {
    const auto limit = static_cast<std::int64_t>(rope_parameters.original_length);
    return runs_anew_when_long && rope_parameters.scaling == RopeScaling::kLongrope &&
           before <= limit && after > limit;
  }
  // The longest supported sequence: max_position_embeddings, or the original length times the RoPE
  // scaling's factor (a model card's YaRN leaves max_position_embeddings unchanged). Dynamic
  // scaling has no limit.
  std::int64_t longest_sequence() const {
    constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
    if (rope_parameters.scaling == RopeScaling::kDynamic) return kMost;
    if (rope_parameters.scaling == RopeScaling::kNone) return max_position_embeddings;
    const double stretched = rope_parameters.factor * rope_parameters.original_length;
    return std::max(max_position_embeddings,
                    static_cast<std::int64_t>(std::min(stretched, static_cast<double>(kMost))));
  }
};

}  // namespace assay
