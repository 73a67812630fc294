// Qwen3-Next and Qwen3.5: three of four layers have a gated delta rule instead of attention, whose
// output is gated in the others. Norms multiply by 1 + weight; the MoE is Qwen2's.
#include <fmt/format.h>

#include <string>
#include <vector>

#include "assay/error.h"
#include "models/config_fields.h"
#include "models/model_type.h"
#include "models/parts/pre_norm.h"

namespace assay {
namespace {

// `layer_types`; without it, one of every `full_attention_interval` layers attends.
void read_linear_layers(const JsonObject& config, ModelSpec& spec) {
  constexpr const char* kField = "layer_types";
  const auto layers = static_cast<std::size_t>(spec.num_hidden_layers);
  spec.linear_layers.resize(layers);
  if (!config.has(kField)) {
    const auto interval =
        static_cast<std::size_t>(config.positive_integer("full_attention_interval", 4));
    for (std::size_t l = 0; l < layers; ++l) spec.linear_layers[l] = (l + 1) % interval != 0;
    return;
  }
  const std::vector<std::string> types = config.strings(kField);
  if (types.size() != layers) {
    throw input_error(config.where(kField), fmt::format("{} entries", types.size()),
                      fmt::format("{} (num_hidden_layers)", layers));
  }
  for (std::size_t l = 0; l < layers; ++l) {
    spec.linear_layers[l] = types[l] == "linear_attention";
    if (spec.linear_layers[l] || types[l] == "full_attention") continue;
    throw input_error(config.where(kField), "\"" + types[l] + "\"",
                      "\"linear_attention\" or \"full_attention\"");
  }
}

void read_delta(const JsonObject& config, ModelSpec& spec) {
  DeltaSpec& delta = spec.delta;
  const auto size = [&](const char* field, std::int64_t fallback, std::int64_t most) {
    const std::int64_t value = config.positive_integer(field, fallback);
    refuse_unless(value <= most, config, field, fmt::format("at most {}", most));
    return value;
  };
  constexpr const char* kValueHeads = "linear_num_value_heads";
  delta.key_heads = size("linear_num_key_heads", 16, kMostHeadDim);
  delta.value_heads = size(kValueHeads, 32, kMostHeadDim);
  delta.key_dim = size("linear_key_head_dim", 128, kMostHeadDim);
  delta.value_dim = size("linear_value_head_dim", 128, kMostHeadDim);
  delta.conv_taps = size("linear_conv_kernel_dim", 4, kMostConvTaps);
  refuse_unless(delta.value_heads % delta.key_heads == 0, config, kValueHeads,
                fmt::format("a multiple of linear_num_key_heads ({})", delta.key_heads));
}

void read_hybrid(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, false);
  spec.norm.one_plus = spec.norm.rounded_once = true;
  spec.qk_norm = true;
  spec.qkv_bias = spec.o_bias = config.boolean("attention_bias", false);
  spec.attention.gated = true;
  refuse_unless(spec.mlp.activation == Activation::kSilu, config, "hidden_act", "\"silu\"");
  read_linear_layers(config, spec);
  read_delta(config, spec);
}

void read_shared_expert(const JsonObject& config, ModelSpec& spec) {
  spec.moe.shared_size = config.positive_integer("shared_expert_intermediate_size");
  spec.moe.shared_gated = true;
}

// Its router always divides by the sum.
void read_qwen3_5_moe(const JsonObject& config, ModelSpec& spec) {
  read_hybrid(config, spec);
  read_experts(config, {}, spec);
  read_shared_expert(config, spec);
  spec.moe.router.norm_topk_prob = true;
}

void read_qwen3_next(const JsonObject& config, ModelSpec& spec) {
  read_hybrid(config, spec);
  read_qwen_moe(config, spec, true);
  read_shared_expert(config, spec);
}

constexpr MlpTensors kQwenMlp = {.fused = "", .moe = {.shared = "shared_expert"}};

void qwen3_5_layer(Builder& b) { pre_norm_layer(b, {}, kQwenMlp); }
void qwen3_next_layer(Builder& b) { pre_norm_layer(b, {}, kQwenMlp, {.packed = true}); }

constexpr double kRotatedPart = 0.25;  // unless the config says otherwise

}  // namespace

ModelType qwen3_5_text_type() {
  return {.name = "qwen3_5_text",
          .read = read_hybrid,
          .layer = qwen3_5_layer,
          .rope = {.rotates_partly = true, .part = kRotatedPart}};
}
ModelType qwen3_5_moe_text_type() {
  return {.name = "qwen3_5_moe_text",
          .read = read_qwen3_5_moe,
          .layer = qwen3_5_layer,
          .width_field = "moe_intermediate_size",
          .rope = {.rotates_partly = true, .part = kRotatedPart}};
}
ModelType qwen3_next_type() {
  return {.name = "qwen3_next",
          .read = read_qwen3_next,
          .layer = qwen3_next_layer,
          .rope = {.rotates_partly = true, .part = kRotatedPart}};
}

}  // namespace assay
