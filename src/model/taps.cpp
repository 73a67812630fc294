#include "assay/taps.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <array>

namespace assay {
namespace {

constexpr std::array<std::string_view, kTapCount> kNames = {"embedding_output",
                                                            "input_norm",
                                                            "q_proj",
                                                            "k_proj",
                                                            "v_proj",
                                                            "q_norm",
                                                            "k_norm",
                                                            "q_rope",
                                                            "k_rope",
                                                            "attn_scores",
                                                            "attn_probs",
                                                            "attn_context",
                                                            "attn_output",
                                                            "attn_post_norm",
                                                            "attn_residual",
                                                            "mlp_norm",
                                                            "router_logits",
                                                            "expert_ids",
                                                            "expert_weights",
                                                            "gate_proj",
                                                            "up_proj",
                                                            "mlp_act",
                                                            "mlp_output",
                                                            "mlp_post_norm",
                                                            "output",
                                                            "final_norm_output",
                                                            "logits"};

}  // namespace

std::string_view tap_base_name(Tap tap) { return kNames[static_cast<std::size_t>(tap)]; }

std::string tap_name(Tap tap, std::int64_t layer, const ModelSpec& spec) {
  const std::string_view name = tap_base_name(tap);
  if (!is_layer_tap(tap)) return std::string(name);
  const int digits = spec.num_hidden_layers > 100 ? 3 : 2;
  return fmt::format("layer_{:0{}}_{}", layer, digits, name);
}

bool has_tap(Tap tap, std::int64_t layer, const ModelSpec& spec) {
  switch (tap) {
    case Tap::kInputNorm:
    case Tap::kMlpNorm:
      return spec.has_norms_before();
    case Tap::kAttnPostNorm:
    case Tap::kMlpPostNorm:
      return spec.has_norms_after();
    case Tap::kQNorm:
    case Tap::kKNorm:
      return spec.qk_norm;
    case Tap::kRouterLogits:
    case Tap::kExpertIds:
    case Tap::kExpertWeights:
      return spec.is_sparse(layer);
    default:
      return true;
  }
}

std::vector<std::int64_t> tap_shape(Tap tap, std::int64_t layer, const ModelSpec& spec,
                                    std::int64_t tokens) {
  switch (tap) {
    case Tap::kQProj:
    case Tap::kQNorm:
    case Tap::kQRope:
      return {1, tokens, spec.num_attention_heads, spec.head_dim};
    case Tap::kKProj:
    case Tap::kVProj:
    case Tap::kKNorm:
    case Tap::kKRope:
      return {1, tokens, spec.num_key_value_heads, spec.head_dim};
    case Tap::kAttnScores:
    case Tap::kAttnProbs:
      return {1, spec.num_attention_heads, tokens, tokens};
    case Tap::kAttnContext:
      return {1, tokens, spec.q_size()};
    case Tap::kGateProj:
    case Tap::kUpProj:
    case Tap::kMlpAct:
      if (spec.is_sparse(layer)) {
        return {1, tokens, spec.moe.num_experts_per_tok, spec.moe.intermediate_size};
      }
      return {1, tokens, spec.intermediate_size};
    case Tap::kRouterLogits:
      return {1, tokens, spec.moe.num_experts};
    case Tap::kExpertIds:
    case Tap::kExpertWeights:
      return {1, tokens, spec.moe.num_experts_per_tok};
    case Tap::kLogits:
      return {1, tokens, spec.vocab_size};
    default:
      return {1, tokens, spec.hidden_size};
  }
}

TapSet::TapSet(const ModelSpec& spec)
    : spec_(spec), wanted_(static_cast<std::size_t>(spec.num_hidden_layers) * kTapCount) {}

TapSet TapSet::classic(const ModelSpec& spec) {
  TapSet set(spec);
  for (const Tap tap : {Tap::kEmbeddingOutput, Tap::kFinalNormOutput, Tap::kLogits}) {
    set.wanted_[set.index(tap, 0)] = true;
  }
  for (std::int64_t layer = 0; layer < spec.num_hidden_layers; ++layer) {
    set.wanted_[set.index(Tap::kLayerOutput, layer)] = true;
  }
  return set;
}

int TapSet::add(std::string_view glob) {
  const std::string pattern(glob);
  int matches = 0;
  for (std::int64_t layer = 0; layer < spec_.num_hidden_layers; ++layer) {
    for (int t = 0; t < kTapCount; ++t) {
      const Tap tap = static_cast<Tap>(t);
      if (!is_layer_tap(tap) && layer != 0) continue;
      if (!has_tap(tap, layer, spec_)) continue;
      if (fnmatch(pattern.c_str(), tap_name(tap, layer, spec_).c_str(), 0) != 0) continue;
      wanted_[index(tap, layer)] = true;
      ++matches;
    }
  }
  return matches;
}

bool TapSet::wants(Tap tap, std::int64_t layer) const { return wanted_[index(tap, layer)]; }

std::size_t TapSet::index(Tap tap, std::int64_t layer) {
  return static_cast<std::size_t>(layer * kTapCount + static_cast<int>(tap));
}

bool TapSet::empty() const {
  return std::none_of(wanted_.begin(), wanted_.end(), [](bool wanted) { return wanted; });
}

}  // namespace assay
