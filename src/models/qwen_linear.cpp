// Qwen3-Next and Qwen3.5: three of four layers have a gated delta rule instead of attention, whose
// output is gated in the others. Norms multiply by 1 + weight; the MoE is Qwen2's.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "assay/error.h"
#include "models/config_fields.h"
#include "models/gguf_fields.h"
#include "models/model_type.h"
#include "models/parts/pre_norm.h"

namespace assay {
namespace {

// Without `layer_types`, one of every `full_attention_interval` layers attends.
void read_linear_layers(const JsonObject& config, ModelSpec& spec) {
  const auto is_linear = [&](std::size_t l) {
    const std::int64_t interval = config.positive_integer("full_attention_interval", 4);
    return (l + 1) % static_cast<std::size_t>(interval) != 0;
  };
  spec.linear_layers =
      layers_of_type(config, spec.num_hidden_layers, "linear_attention", is_linear);
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

// The file has one size for both kinds of heads but not for all heads together.
struct GgufHeads {
  explicit GgufHeads(const GgufStored& tensor) {
    const std::string_view architecture = tensor.head.string("general.architecture");
    const auto size = [&](std::string_view name) {
      const std::string key = fmt::format("{}.ssm.{}", architecture, name);
      const std::int64_t value = tensor.head.integer(key);
      if (value == 0 || value > kMostHeadDim) {
        throw input_error(tensor.head.where(key), std::to_string(value),
                          fmt::format("1 to {}", kMostHeadDim));
      }
      return value;
    };
    keys = size("group_count");
    values = size("time_step_rank");
    key_dim = size("state_size");
    const std::string inner = fmt::format("{}.ssm.inner_size", architecture);
    const std::int64_t all = tensor.head.integer(inner);
    value_dim = all / values;
    if (values % keys != 0 || all % values != 0 || value_dim > kMostHeadDim) {
      throw input_error(
          tensor.head.where(inner), std::to_string(all),
          fmt::format("a multiple of {} value heads, which share {} key heads", values, keys));
    }
  }
  std::int64_t share() const { return values / keys; }

  std::int64_t keys = 0;
  std::int64_t values = 0;
  std::int64_t key_dim = 0;
  std::int64_t value_dim = 0;
};

void expect_size(const GgufStored& tensor, std::int64_t found, std::int64_t expected) {
  if (found == expected) return;
  throw input_error(tensor.where, "shape " + shape_text(tensor.shape),
                    fmt::format("{} in the place of {}", expected, found));
}

// A key head's value heads follow each other; llama.cpp puts the first ones of all key heads before
// the second ones. before: elements that stay. size: of a head's elements.
std::vector<std::int64_t> tiled(const GgufHeads& heads, std::int64_t before, std::int64_t size) {
  std::vector<std::int64_t> order;
  for (std::int64_t i = 0; i < before; ++i) order.push_back(i);
  for (std::int64_t head = 0; head < heads.values; ++head) {
    const std::int64_t stored = head % heads.share() * heads.keys + head / heads.share();
    for (std::int64_t i = 0; i < size; ++i) order.push_back(before + stored * size + i);
  }
  return order;
}

constexpr std::string_view kLogDecay = "linear_attn.A_log";

GgufChange change_qwen3_5(const GgufStored& tensor) {
  constexpr std::string_view kLinear = "linear_attn.";
  GgufChange change;
  if (!tensor.name.starts_with(kLinear) || tensor.name == "linear_attn.norm.weight") return change;
  const GgufHeads heads(tensor);
  const std::string_view name = tensor.name.substr(kLinear.size());
  if (name == "out_proj.weight") {
    expect_size(tensor, tensor.shape.back(), heads.values * heads.value_dim);
    change.columns = tiled(heads, 0, heads.value_dim);
    return change;
  }
  const bool has_keys = name == "in_proj_qkv.weight" || name == "conv1d.weight";
  const std::int64_t before = has_keys ? 2 * heads.keys * heads.key_dim : 0;
  const std::int64_t size = has_keys || name == "in_proj_z.weight" ? heads.value_dim : 1;
  expect_size(tensor, tensor.shape.front(), before + heads.values * size);
  change.rows = tiled(heads, before, size);
  change.exponential = tensor.name == kLogDecay;
  return change;
}

// The rows of all heads' queries are followed by those of their keys, values and z; in the
// checkpoint a key head has its own together. Older files have them as the checkpoint.
GgufChange change_qwen3_next(const GgufStored& tensor) {
  GgufChange change;
  change.exponential = tensor.name == kLogDecay;
  if (tensor.stored != "attn_qkv.weight") return change;
  const GgufHeads heads(tensor);
  const std::int64_t values = heads.share() * heads.value_dim;
  const std::array<std::int64_t, 4> sizes = {heads.key_dim, heads.key_dim, values, values};
  expect_size(tensor, tensor.shape.front(), heads.keys * 2 * (heads.key_dim + values));
  for (std::int64_t head = 0; head < heads.keys; ++head) {
    std::int64_t begin = 0;
    for (const std::int64_t size : sizes) {
      for (std::int64_t i = 0; i < size; ++i) change.rows.push_back(begin + head * size + i);
      begin += heads.keys * size;
    }
  }
  return change;
}

void read_hybrid_gguf(GgufFields& gguf) {
  // The last layers may be for the prediction of further tokens.
  const std::int64_t layers = gguf.layers() - gguf.integer("nextn_predict_layers", 0);
  gguf.config["num_hidden_layers"] = layers;
  const std::int64_t heads = gguf.integer("ssm.time_step_rank");
  gguf.config["linear_num_key_heads"] = gguf.integer("ssm.group_count");
  gguf.config["linear_num_value_heads"] = heads;
  gguf.config["linear_key_head_dim"] = gguf.integer("ssm.state_size");
  gguf.config["linear_value_head_dim"] =
      gguf.integer("ssm.inner_size") / std::max<std::int64_t>(heads, 1);
  gguf.config["linear_conv_kernel_dim"] = gguf.integer("ssm.conv_kernel");
  gguf.config["full_attention_interval"] = gguf.integer("full_attention_interval", 4);
  gguf.config["partial_rotary_factor"] =
      static_cast<double>(gguf.integer("rope.dimension_count", gguf.head_dim())) /
      static_cast<double>(gguf.head_dim());
}

void read_hybrid_moe_gguf(GgufFields& gguf) {
  read_qwen_moe_gguf(gguf, true);
  read_shared_expert_gguf(gguf);
  read_hybrid_gguf(gguf);
}

constexpr std::array<GgufName, 10> kQwen35GgufNames = {
    {{"post_attention_norm", "post_attention_layernorm"},
     {"attn_qkv", "linear_attn.in_proj_qkv"},
     {"attn_gate", "linear_attn.in_proj_z"},
     {"ssm_beta", "linear_attn.in_proj_b"},
     {"ssm_alpha", "linear_attn.in_proj_a"},
     {"ssm_conv1d", "linear_attn.conv1d"},
     {"ssm_a", kLogDecay},
     {"ssm_dt.bias", "linear_attn.dt_bias"},
     {"ssm_norm", "linear_attn.norm"},
     {"ssm_out", "linear_attn.out_proj"}}};
constexpr std::array<GgufName, 9> kQwen3NextGgufNames = {
    {{"post_attention_norm", "post_attention_layernorm"},
     {"attn_qkv", "linear_attn.in_proj_qkvz"},
     {"ssm_in", "linear_attn.in_proj_qkvz"},
     {"ssm_ba", "linear_attn.in_proj_ba"},
     {"ssm_conv1d", "linear_attn.conv1d"},
     {"ssm_a", kLogDecay},
     {"ssm_dt.bias", "linear_attn.dt_bias"},
     {"ssm_norm", "linear_attn.norm"},
     {"ssm_out", "linear_attn.out_proj"}}};

constexpr double kRotatedPart = 0.25;  // unless the config says otherwise

}  // namespace

ModelType qwen3_5_text_type() {
  return {.name = "qwen3_5_text",
          .read = read_hybrid,
          .layer = qwen3_5_layer,
          .rope = {.rotates_partly = true, .part = kRotatedPart},
          .gguf = {.architecture = "qwen35",
                   .read = read_hybrid_gguf,
                   .names = kQwen35GgufNames,
                   .adds_one_to_norms = true,
                   .change = change_qwen3_5}};
}
ModelType qwen3_5_moe_text_type() {
  return {.name = "qwen3_5_moe_text",
          .read = read_qwen3_5_moe,
          .layer = qwen3_5_layer,
          .width_field = "moe_intermediate_size",
          .rope = {.rotates_partly = true, .part = kRotatedPart},
          .gguf = {.architecture = "qwen35moe",
                   .read = read_hybrid_moe_gguf,
                   .names = kQwen35GgufNames,
                   .adds_one_to_norms = true,
                   .change = change_qwen3_5}};
}
ModelType qwen3_next_type() {
  return {.name = "qwen3_next",
          .read = read_qwen3_next,
          .layer = qwen3_next_layer,
          .rope = {.rotates_partly = true, .part = kRotatedPart},
          .gguf = {.architecture = "qwen3next",
                   .read = read_hybrid_moe_gguf,
                   .names = kQwen3NextGgufNames,
                   .adds_one_to_norms = true,
                   .split = {"attn_qkv.weight", "attn_gate.weight"},
                   .change = change_qwen3_next}};
}

}  // namespace assay
