// Mixtral and MiniMax M2: Llama's layer with experts in every layer. Mixtral divides the chosen
// probabilities by their sum; MiniMax chooses by sigmoids with a correction, normalises queries and
// keys over all heads together, and rotates a part of each head.
#include <array>
#include <cstdint>

#include "models/config_fields.h"
#include "models/gguf_fields.h"
#include "models/model_type.h"
#include "models/parts/pre_norm.h"

namespace assay {
namespace {

constexpr MoeFields kFields = {.count = "num_local_experts", .width = "intermediate_size"};

void read_mixtral(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, true);
  if (config.has("sliding_window")) read_window(config, spec, 0);
  read_experts(config, kFields, spec);
  spec.moe.router.norm_topk_prob = true;
  spec.moe.router.rounded = false;
}

void read_minimax_m2(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, false);
  spec.qk_norm = spec.qk_norms.full_width = true;
  read_experts(config, kFields, spec);
  RouterSpec& router = spec.moe.router;
  router.function = RouterFunction::kSigmoid;
  router.bias = RouterSpec::Bias::kRounded;
  router.norm_topk_prob = true;
  router.sorted = router.rounded = false;
}

void mixtral_layer(Builder& b) {
  pre_norm_layer(b, {},
                 {.fused = "",
                  .moe = {.block = "block_sparse_moe",
                          .bias = "e_score_correction_bias",
                          .gate = "w1",
                          .up = "w3",
                          .down = "w2"}});
}

void read_minimax_m2_gguf(GgufFields& gguf) {
  gguf.config["num_local_experts"] = gguf.integer("expert_count");
  gguf.config["num_experts_per_tok"] = gguf.integer("expert_used_count");
  gguf.config["intermediate_size"] = gguf.integer("expert_feed_forward_length");
  gguf.config["rotary_dim"] = gguf.integer("rope.dimension_count", gguf.head_dim());
}

constexpr std::array<GgufName, 5> kMixtralGgufNames = {
    {{"ffn_gate_inp", "block_sparse_moe.gate"},
     {"exp_probs_b.bias", "block_sparse_moe.e_score_correction_bias"},
     {"ffn_gate_exps", "block_sparse_moe.experts.{}.w1"},
     {"ffn_up_exps", "block_sparse_moe.experts.{}.w3"},
     {"ffn_down_exps", "block_sparse_moe.experts.{}.w2"}}};

}  // namespace

std::span<const GgufName> mixtral_gguf_names() { return kMixtralGgufNames; }

// Its GGUF files have Llama's architecture.
ModelType mixtral_type() {
  return {.name = "mixtral",
          .read = read_mixtral,
          .layer = mixtral_layer,
          .rope = {.theta = 1'000'000}};
}
ModelType minimax_m2_type() {
  return {
      .name = "minimax_m2",
      .read = read_minimax_m2,
      .layer = mixtral_layer,
      .rope = {.rotates_partly = true, .dims_field = "rotary_dim", .theta = 5'000'000},
      .gguf = {
          .architecture = "minimax-m2", .read = read_minimax_m2_gguf, .names = kMixtralGgufNames}};
}

}  // namespace assay
