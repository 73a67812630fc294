// Taps: the names of all intermediates, and which of them a run records.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/spec.h"

namespace assay {

// Every place where the forward pass can be observed, in data-flow order, with its name (within its
// layer, from kInputNorm to kLayerOutput). docs/reference-data-format.md has the shapes, with S
// tokens.
// clang-format off
#define ASSAY_TAPS(row)                      \
  row(kEmbeddingOutput, "embedding_output")  \
  row(kInputNorm, "input_norm")              \
  row(kQProj, "q_proj")                      \
  row(kAttnGate, "attn_gate")                \
  row(kKProj, "k_proj")                      \
  row(kVProj, "v_proj")                      \
  row(kQNorm, "q_norm")                      \
  row(kKNorm, "k_norm")                      \
  row(kVNorm, "v_norm")                      \
  row(kQRope, "q_rope")                      \
  row(kKRope, "k_rope")                      \
  row(kAttnScores, "attn_scores")            \
  row(kAttnProbs, "attn_probs")              \
  row(kAttnContext, "attn_context")          \
  row(kAttnGated, "attn_gated")              \
  row(kAttnOutput, "attn_output")            \
  row(kGdnQkv, "gdn_qkv")                    \
  row(kGdnZ, "gdn_z")                        \
  row(kGdnB, "gdn_b")                        \
  row(kGdnA, "gdn_a")                        \
  row(kGdnConv, "gdn_conv")                  \
  row(kGdnBeta, "gdn_beta")                  \
  row(kGdnDecay, "gdn_decay")                \
  row(kGdnCore, "gdn_core")                  \
  row(kGdnNorm, "gdn_norm")                  \
  row(kGdnOutput, "gdn_output")              \
  row(kAttnPostNorm, "attn_post_norm")       \
  row(kAttnResidual, "attn_residual")        \
  row(kMlpNorm, "mlp_norm")                  \
  row(kRoutedNorm, "routed_norm")            \
  row(kRouterNorm, "router_norm")            \
  row(kRouterInput, "router_input")          \
  row(kRouterLogits, "router_logits")        \
  row(kRouterScores, "router_scores")        \
  row(kExpertIds, "expert_ids")              \
  row(kExpertWeights, "expert_weights")      \
  row(kGateProj, "gate_proj")                \
  row(kUpProj, "up_proj")                    \
  row(kMlpAct, "mlp_act")                    \
  row(kRoutedOutput, "routed_output")        \
  row(kRoutedPostNorm, "routed_post_norm")   \
  row(kSharedGateProj, "shared_gate_proj")   \
  row(kSharedUpProj, "shared_up_proj")       \
  row(kSharedMlpAct, "shared_mlp_act")       \
  row(kSharedOutput, "shared_expert_output") \
  row(kSharedGate, "shared_expert_gate")     \
  row(kSharedPostNorm, "shared_post_norm")   \
  row(kMlpOutput, "mlp_output")              \
  row(kMlpPostNorm, "mlp_post_norm")         \
  row(kMlpResidual, "mlp_residual")          \
  row(kPleEmbedding, "ple_embedding")        \
  row(kPleContext, "ple_context")            \
  row(kPleNorm, "ple_norm")                  \
  row(kPleInput, "ple_input")                \
  row(kPleGate, "ple_gate")                  \
  row(kPleAct, "ple_act")                    \
  row(kPleOutput, "ple_output")              \
  row(kPlePostNorm, "ple_post_norm")         \
  row(kPleResidual, "ple_residual")          \
  row(kLayerOutput, "output")                \
  row(kFinalNormOutput, "final_norm_output") \
  row(kLogits, "logits")
// clang-format on

enum class Tap {
#define ASSAY_TAP(tap, name) tap,
  ASSAY_TAPS(ASSAY_TAP)
#undef ASSAY_TAP
};
constexpr int kTapCount = static_cast<int>(Tap::kLogits) + 1;

// True for the taps that exist once per layer.
constexpr bool is_layer_tap(Tap tap) { return tap >= Tap::kInputNorm && tap <= Tap::kLayerOutput; }

// "layer_03_q_proj", "logits". Layer numbers have two digits, three in a model of more than 100
// layers; `layer` is ignored for taps outside the layers.
std::string tap_name(Tap tap, std::int64_t layer, const ModelSpec& spec);

// The name without the layer: "q_proj", "logits"; "output" of a layer's last one.
std::string_view tap_base_name(Tap tap);

struct TapPlace {
  Tap tap = Tap::kEmbeddingOutput;
  std::int64_t layer = -1;  // -1 outside the layers

  // Data-flow order.
  friend auto operator<=>(const TapPlace& a, const TapPlace& b) { return a.order() <=> b.order(); }
  friend bool operator==(const TapPlace& a, const TapPlace& b) { return a.order() == b.order(); }
  std::int64_t order() const;
};

// "layer_03_q_proj", with any number of digits; none for other names (input_ids, rope_cos). The
// layer's number must be below kMostLayers, because callers allocate memory for each layer.
std::optional<TapPlace> parse_tap_name(std::string_view name);

// The axis that counts positions in an array of that tap: 1, or 2 for scores and probabilities.
std::size_t position_axis(Tap tap);

// Whether the model has the tap in that layer.
bool has_tap(Tap tap, std::int64_t layer, const ModelSpec& spec);

// Shape of the array for a prompt of `tokens` tokens: [1, S, ...] or [1, heads, S, S].
std::vector<std::int64_t> tap_shape(Tap tap, std::int64_t layer, const ModelSpec& spec,
                                    std::int64_t tokens);

// The taps that a run records.
class TapSet {
 public:
  // Empty.
  explicit TapSet(const ModelSpec& spec);

  // The classic reference set: embedding_output, every layer_NN_output, final_norm_output, logits.
  static TapSet classic(const ModelSpec& spec);

  // Adds every tap whose name matches the glob (`*`, `?`, `[...]`). Returns how many taps match.
  int add(std::string_view glob);

  bool wants(Tap tap, std::int64_t layer = 0) const;
  bool empty() const;

 private:
  static std::size_t index(Tap tap, std::int64_t layer);

  ModelSpec spec_;
  std::vector<bool> wanted_;  // [layer][tap]; taps outside the layers are at layer 0
};

}  // namespace assay
