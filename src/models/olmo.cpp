// OLMo 2: norms after the blocks, none before them; queries and keys normalised over all heads
// together. OLMoE: Llama's layer with experts in every layer, and the same norms of queries and
// keys.
#include "assay/error.h"
#include "models/config_fields.h"
#include "models/gguf_fields.h"
#include "models/model_type.h"
#include "models/parts/attention.h"
#include "models/parts/mlp.h"

namespace assay {
namespace {

void read_olmo2(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, true);
  spec.qkv_bias = spec.o_bias = config.boolean("attention_bias", false);
  spec.qk_norm = true;
  spec.qk_norms.full_width = true;
  spec.rope.rounded_once = true;
  spec.norm.rounded_once = true;
}

void read_olmoe(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, true);
  // transformers computes the norms' widths from this ratio.
  refuse_unless(spec.q_size() == spec.hidden_size, config, "head_dim",
                "hidden_size / num_attention_heads");
  refuse_unless(!config.has("clip_qkv"), config, "clip_qkv", "null");
  spec.qkv_bias = spec.o_bias = config.boolean("attention_bias", false);
  spec.qk_norm = spec.qk_norms.full_width = true;
  read_experts(config, {.count = "num_experts", .width = "intermediate_size"}, spec);
  spec.moe.router.norm_topk_prob = config.boolean("norm_topk_prob", false);
}

void olmo2_layer(Builder& b) {
  const ValueId a = attention(b, b.stream());
  b.add(b.norm(a, "post_attention_layernorm", Tap::kAttnPostNorm), Tap::kAttnResidual);
  const ValueId m = mlp(b, b.stream());
  b.add(b.norm(m, "post_feedforward_layernorm", Tap::kMlpPostNorm), Tap::kLayerOutput);
}

// OLMo 3's files have this architecture too, and a window.
void read_olmo2_gguf(GgufFields& gguf) {
  const std::int64_t window = gguf.integer("attention.sliding_window", 0);
  if (window == 0) return;
  throw input_error(gguf.where("attention.sliding_window"), std::to_string(window),
                    "none (OLMo 3 is not supported)");
}

// llama.cpp never divides the weights by their sum.
void read_olmoe_gguf(GgufFields& gguf) {
  gguf.config["num_experts"] = gguf.integer("expert_count");
  gguf.config["num_experts_per_tok"] = gguf.integer("expert_used_count");
}

}  // namespace

ModelType olmo2_type() {
  return {.name = "olmo2",
          .read = read_olmo2,
          .layer = olmo2_layer,
          .gguf = {.architecture = "olmo2", .read = read_olmo2_gguf}};
}

ModelType olmoe_type() {
  return {.name = "olmoe",
          .read = read_olmoe,
          .layer = llama_layer,
          .gguf = {.architecture = "olmoe", .read = read_olmoe_gguf}};
}

}  // namespace assay
