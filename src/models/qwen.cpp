// Qwen2, Qwen3 and Qwen3-MoE: Llama's layer; Qwen2 with a bias on q, k and v, Qwen3 with a norm on
// each query and key head, Qwen3-MoE with experts in most layers.
#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "models/config_fields.h"
#include "models/gguf_fields.h"
#include "models/model_type.h"

namespace assay {
namespace {

// Qwen's window counts only if it is switched on, and from max_window_layers on.
void read_qwen_window(const JsonObject& config, ModelSpec& spec) {
  if (!config.boolean("use_sliding_window", false)) return;
  read_window(config, spec, 4096);
  if (spec.model_type == "qwen3_moe") return;
  const auto from = config.unsigned_integer("max_window_layers", 28);
  read_layer_types(config, spec, [&](std::size_t l) { return l >= from; });
}

void read_moe(const JsonObject& config, ModelSpec& spec) {
  const char* count = config.has("num_local_experts") ? "num_local_experts" : "num_experts";
  MoeSpec& moe = spec.moe;
  moe.num_experts = config.positive_integer(count);
  refuse_unless(moe.num_experts <= kMostExperts, config, count,
                fmt::format("at most {}", kMostExperts));
  moe.num_experts_per_tok = config.positive_integer("num_experts_per_tok");
  moe.intermediate_size = config.positive_integer("moe_intermediate_size");
  moe.norm_topk_prob = config.boolean("norm_topk_prob", false);
  refuse_unless(moe.num_experts_per_tok <= moe.num_experts, config, "num_experts_per_tok",
                fmt::format("at most {} ({})", moe.num_experts, count));
  const std::int64_t step = config.positive_integer("decoder_sparse_step", 1);
  const std::vector<std::int64_t> dense = config.has("mlp_only_layers")
                                              ? config.integers("mlp_only_layers")
                                              : std::vector<std::int64_t>();
  spec.sparse_layers.resize(static_cast<std::size_t>(spec.num_hidden_layers));
  for (std::int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    spec.sparse_layers[static_cast<std::size_t>(l)] =
        (l + 1) % step == 0 && std::ranges::find(dense, l) == dense.end();
  }
}

void read_qwen2(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, true);
  spec.qkv_bias = true;
  read_qwen_window(config, spec);
}

void read_qwen3(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, false);
  spec.qk_norm = true;
  spec.qkv_bias = spec.o_bias = config.boolean("attention_bias", false);
  read_qwen_window(config, spec);
  if (spec.model_type == "qwen3_moe") read_moe(config, spec);
}

void read_qwen3_moe_gguf(GgufFields& gguf) {
  gguf.config["num_experts"] = gguf.integer("expert_count");
  gguf.config["num_experts_per_tok"] = gguf.integer("expert_used_count");
  gguf.config["moe_intermediate_size"] = gguf.integer("expert_feed_forward_length");
  gguf.config["norm_topk_prob"] = gguf.boolean("expert_weights_norm", true);
  gguf.config["decoder_sparse_step"] = 1;
  OrderedJson dense = OrderedJson::array();
  for (std::int64_t l = 0; l < gguf.layers(); ++l) {
    if (gguf.parts().find(fmt::format("blk.{}.ffn_gate.weight", l)) != nullptr) dense.push_back(l);
  }
  gguf.config["mlp_only_layers"] = dense;
}

}  // namespace

ModelType qwen2_type() {
  return {
      .name = "qwen2", .read = read_qwen2, .layer = llama_layer, .gguf = {.architecture = "qwen2"}};
}
ModelType qwen3_type() {
  return {
      .name = "qwen3", .read = read_qwen3, .layer = llama_layer, .gguf = {.architecture = "qwen3"}};
}
ModelType qwen3_moe_type() {
  return {.name = "qwen3_moe",
          .read = read_qwen3,
          .layer = llama_layer,
          .gguf = {.architecture = "qwen3moe", .read = read_qwen3_moe_gguf}};
}

}  // namespace assay
