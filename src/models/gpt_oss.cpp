// gpt-oss: Llama's layer with a bias on every projection, a sink in each head's softmax, a window
// in every second layer, and experts whose gate is clamped. They are chosen by their logits and
// weighted by the softmax of the chosen ones.
#include <array>
#include <cstdint>

#include "models/config_fields.h"
#include "models/gguf_fields.h"
#include "models/model_type.h"
#include "models/parts/pre_norm.h"

namespace assay {
namespace {

constexpr double kAlpha = 1.702;
constexpr double kLimit = 7;

void read_gpt_oss(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, true);
  if (!config.has("head_dim")) spec.head_dim = 64;
  spec.qkv_bias = spec.o_bias = config.boolean("attention_bias", true);
  spec.norm.rounded_once = true;
  spec.attention.sinks = true;
  read_window(config, spec, 128);
  read_layer_types(config, spec, [](std::size_t l) { return l % 2 == 0; });
  const bool local = !config.has("num_experts");
  read_experts(config,
               {.count = local ? "num_local_experts" : "num_experts", .width = "intermediate_size"},
               spec);
  spec.moe.biased = true;
  spec.moe.router.logit_bias = spec.moe.router.softmax_of_chosen = true;
  refuse_unless(spec.mlp.activation == Activation::kSilu, config, "hidden_act", "\"silu\"");
  spec.mlp.activation = Activation::kSwish;
  spec.mlp.alpha = config.positive_number("swiglu_alpha", kAlpha);
  spec.mlp.limit = config.positive_number("swiglu_limit", kLimit);
  spec.mlp.up_plus_one = true;
  spec.exchanged_experts = spec.interleaved_experts = true;
}

// Without rotary parameters, transformers fills in those of the published models.
void read_gpt_oss_rope(const JsonObject& config, ModelSpec& spec) {
  const RopeFields fields = {.theta = 150'000};
  if (gives_rope(config)) return read_rope(config, fields, spec);
  const OrderedJson published = {{"rope_type", "yarn"}, {"factor", 32.0},
                                 {"beta_fast", 32.0},   {"beta_slow", 1.0},
                                 {"truncate", false},   {"original_max_position_embeddings", 4096}};
  read_rope(config.completed(OrderedJson::object(), {{"rope_scaling", published}}), fields, spec);
}

void gpt_oss_layer(Builder& b) {
  pre_norm_layer(b, {}, {.fused = "", .moe = {.router = "router"}});
}

void read_gpt_oss_gguf(GgufFields& gguf) {
  gguf.config["num_local_experts"] = gguf.integer("expert_count");
  gguf.config["num_experts_per_tok"] = gguf.integer("expert_used_count");
  gguf.config["intermediate_size"] = gguf.integer("expert_feed_forward_length");
  gguf.config["sliding_window"] = gguf.integer("attention.sliding_window");
  if (gguf.config["rope_scaling"].is_object()) gguf.config["rope_scaling"]["truncate"] = false;
}

constexpr std::array<GgufName, 3> kGptOssGgufNames = {
    {{"attn_sinks.weight", "self_attn.sinks"},
     {"post_attention_norm", "post_attention_layernorm"},
     {"ffn_gate_inp", "mlp.router"}}};

}  // namespace

ModelType gpt_oss_type() {
  return {
      .name = "gpt_oss",
      .read = read_gpt_oss,
      .layer = gpt_oss_layer,
      .read_rope = read_gpt_oss_rope,
      .gguf = {.architecture = "gpt-oss", .read = read_gpt_oss_gguf, .names = kGptOssGgufNames}};
}

}  // namespace assay
