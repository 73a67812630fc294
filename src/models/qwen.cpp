// Qwen2 and Qwen3: Llama's layer; Qwen2 with a bias on q, k and v, Qwen3 with a norm on each query
// and key head. Their MoE types have experts in most layers; Qwen2's also one for all tokens, whose
// output is gated.
#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "models/config_fields.h"
#include "models/gguf_fields.h"
#include "models/model_type.h"
#include "models/parts/pre_norm.h"

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

void read_qwen2(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, true);
  spec.qkv_bias = true;
  read_qwen_window(config, spec);
}

// Without layer_types, every second layer slides, up to max_window_layers.
void read_qwen2_moe(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, true);
  spec.qkv_bias = config.boolean("qkv_bias", true);
  if (config.boolean("use_sliding_window", false)) {
    read_window(config, spec, 4096);
    const auto until = config.unsigned_integer("max_window_layers", 28);
    read_layer_types(config, spec, [&](std::size_t l) { return l % 2 == 0 && l < until; });
  }
  read_qwen_moe(config, spec, false);
  spec.moe.shared_size = config.positive_integer("shared_expert_intermediate_size");
  spec.moe.shared_gated = true;
}

void qwen2_moe_layer(Builder& b) {
  pre_norm_layer(b, {}, {.fused = "", .moe = {.shared = "shared_expert"}});
}

void read_qwen3(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, false);
  spec.qk_norm = true;
  spec.qkv_bias = spec.o_bias = config.boolean("attention_bias", false);
  read_qwen_window(config, spec);
  if (spec.model_type == "qwen3_moe") read_qwen_moe(config, spec, false);
}

// llama.cpp never divides the weights by their sum.
void read_qwen2_moe_gguf(GgufFields& gguf) {
  read_qwen_moe_gguf(gguf, false);
  read_shared_expert_gguf(gguf);
  gguf.config["qkv_bias"] = gguf.config["attention_bias"];
}

void read_qwen3_moe_gguf(GgufFields& gguf) { read_qwen_moe_gguf(gguf, true); }

}  // namespace

ModelType qwen2_type() {
  return {
      .name = "qwen2", .read = read_qwen2, .layer = llama_layer, .gguf = {.architecture = "qwen2"}};
}
ModelType qwen2_moe_type() {
  return {.name = "qwen2_moe",
          .read = read_qwen2_moe,
          .layer = qwen2_moe_layer,
          .gguf = {.architecture = "qwen2moe", .read = read_qwen2_moe_gguf}};
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
