// GLM-4.5, 4.6 and 4.7: Llama's layer, of whose heads a part is rotated, with experts from some
// layer on. Their router is DeepSeek-V3's: sigmoids of FP32 logits, chosen with a correction from
// the best groups; one more expert is for all tokens.
#include <array>
#include <cstdint>

#include "models/config_fields.h"
#include "models/gguf_fields.h"
#include "models/model_type.h"
#include "models/parts/pre_norm.h"

namespace assay {
namespace {

void read_groups(const JsonObject& config, ModelSpec& spec) {
  RouterSpec& router = spec.moe.router;
  router.groups = config.positive_integer("n_group", 1);
  router.kept_groups = config.positive_integer("topk_group", 1);
  const std::int64_t experts = spec.moe.num_experts;
  // transformers adds up the two best experts of each group.
  refuse_unless(experts % router.groups == 0 && experts / router.groups >= 2, config, "n_group",
                "a divisor of n_routed_experts that leaves at least 2 experts in a group");
  refuse_unless(router.kept_groups <= router.groups, config, "topk_group", "at most n_group");
}

void read_glm4_moe(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, true);
  spec.qkv_bias = config.boolean("attention_bias", false);
  spec.qk_norm = config.boolean("use_qk_norm", false);
  read_experts(config, {.count = "n_routed_experts"}, spec);
  read_groups(config, spec);
  MoeSpec& moe = spec.moe;
  moe.router.fp32_logits = true;
  moe.router.function = RouterFunction::kSigmoid;
  moe.router.bias = RouterSpec::Bias::kOwnType;
  moe.router.sorted = moe.router.rounded = false;
  moe.router.norm_topk_prob = config.boolean("norm_topk_prob", true);
  moe.router.norm_eps = 1e-20;
  moe.router.factor = config.positive_number("routed_scaling_factor", 1);
  moe.shared_size = moe.intermediate_size * config.positive_integer("n_shared_experts", 1);
  const auto dense = config.unsigned_integer("first_k_dense_replace", 1);
  set_sparse_layers(spec, [&](std::int64_t l) { return static_cast<std::uint64_t>(l) >= dense; });
}

// The file's last layers may be for the prediction of further tokens.
void read_glm4_moe_gguf(GgufFields& gguf) {
  gguf.config["num_hidden_layers"] = gguf.layers() - gguf.integer("nextn_predict_layers", 0);
  gguf.config["n_routed_experts"] = gguf.integer("expert_count");
  gguf.config["num_experts_per_tok"] = gguf.integer("expert_used_count");
  gguf.config["n_shared_experts"] = gguf.integer("expert_shared_count", 1);
  gguf.config["moe_intermediate_size"] = gguf.integer("expert_feed_forward_length");
  gguf.config["first_k_dense_replace"] = gguf.integer("leading_dense_block_count", 1);
  gguf.config["norm_topk_prob"] = gguf.boolean("expert_weights_norm", true);
  gguf.config["routed_scaling_factor"] = gguf.number("expert_weights_scale", 1);
  gguf.config["n_group"] = gguf.integer("expert_group_count", 1);
  gguf.config["topk_group"] = gguf.integer("expert_group_used_count", 1);
  gguf.config["use_qk_norm"] = gguf.parts().find("blk.0.attn_q_norm.weight") != nullptr;
  gguf.config["partial_rotary_factor"] =
      static_cast<double>(gguf.integer("rope.dimension_count", gguf.head_dim())) /
      static_cast<double>(gguf.head_dim());
}

constexpr std::array<GgufName, 4> kGlmGgufNames = {
    {{"exp_probs_b.bias", "mlp.gate.e_score_correction_bias"},
     {"ffn_gate_shexp", "mlp.shared_experts.gate_proj"},
     {"ffn_up_shexp", "mlp.shared_experts.up_proj"},
     {"ffn_down_shexp", "mlp.shared_experts.down_proj"}}};

}  // namespace

ModelType glm4_moe_type() {
  return {.name = "glm4_moe",
          .read = read_glm4_moe,
          .layer = llama_layer,
          .rope = {.rotates_partly = true, .part = 0.5},
          .gguf = {.architecture = "glm4moe", .read = read_glm4_moe_gguf, .names = kGlmGgufNames}};
}

}  // namespace assay
