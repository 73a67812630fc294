#include "models/config_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "assay/error.h"

namespace assay {

void refuse_unless(bool fine, const JsonObject& config, std::string_view field,
                   std::string_view expected) {
  if (!fine) throw input_error(config.where(field), config.text(field), expected);
}

void read_heads(const JsonObject& config, ModelSpec& spec, bool may_be_absent) {
  const std::int64_t share = spec.hidden_size / spec.num_attention_heads;
  spec.head_dim = may_be_absent ? config.positive_integer("head_dim", share)
                                : config.positive_integer("head_dim");
  spec.num_key_value_heads =
      may_be_absent ? config.positive_integer("num_key_value_heads", spec.num_attention_heads)
                    : config.positive_integer("num_key_value_heads");
  if (spec.num_attention_heads % spec.num_key_value_heads != 0) {
    throw input_error(
        config.where("num_key_value_heads"), std::to_string(spec.num_key_value_heads),
        fmt::format("a divisor of num_attention_heads ({})", spec.num_attention_heads));
  }
  refuse_unless(spec.head_dim <= kMostHeadDim, config, "head_dim",
                fmt::format("at most {}", kMostHeadDim));
  if (spec.head_dim % 2 != 0) {
    throw input_error(config.where("head_dim"), std::to_string(spec.head_dim),
                      "an even number (rotary embedding works on pairs)");
  }
}

void read_activation(const JsonObject& config, const char* field, std::string_view fallback,
                     ModelSpec& spec) {
  const std::string name = config.string(field, fallback);
  refuse_unless(name == "silu" || name == "gelu_pytorch_tanh", config, field,
                "\"silu\" or \"gelu_pytorch_tanh\"");
  spec.mlp.activation = name == "silu" ? Activation::kSilu : Activation::kGeluTanh;
}

std::vector<bool> layers_of_type(const JsonObject& config, std::int64_t count,
                                 std::string_view type,
                                 const std::function<bool(std::size_t)>& by_default) {
  constexpr const char* kField = "layer_types";
  const auto layers = static_cast<std::size_t>(count);
  std::vector<bool> of_type(layers);
  if (!config.has(kField)) {
    for (std::size_t l = 0; l < layers; ++l) of_type[l] = by_default(l);
    return of_type;
  }
  const std::vector<std::string> types = config.strings(kField);
  if (types.size() != layers) {
    throw input_error(config.where(kField), fmt::format("{} entries", types.size()),
                      fmt::format("{} (num_hidden_layers)", layers));
  }
  for (std::size_t l = 0; l < layers; ++l) {
    of_type[l] = types[l] == type;
    if (of_type[l] || types[l] == "full_attention") continue;
    throw input_error(config.where(kField), "\"" + types[l] + "\"",
                      fmt::format("\"{}\" or \"full_attention\"", type));
  }
  return of_type;
}

void read_layer_types(const JsonObject& config, ModelSpec& spec,
                      const std::function<bool(std::size_t)>& is_sliding) {
  spec.sliding_layers =
      layers_of_type(config, spec.num_hidden_layers, "sliding_attention", is_sliding);
}

void read_experts(const JsonObject& config, const MoeFields& fields, ModelSpec& spec) {
  MoeSpec& moe = spec.moe;
  moe.num_experts = config.positive_integer(fields.count);
  refuse_unless(moe.num_experts <= kMostExperts, config, fields.count,
                fmt::format("at most {}", kMostExperts));
  moe.num_experts_per_tok = config.positive_integer(fields.chosen);
  moe.intermediate_size = config.positive_integer(fields.width);
  refuse_unless(moe.num_experts_per_tok <= moe.num_experts, config, fields.chosen,
                fmt::format("at most {} ({})", moe.num_experts, fields.count));
}

void set_sparse_layers(ModelSpec& spec, const std::function<bool(std::int64_t)>& is_sparse) {
  spec.sparse_layers.resize(static_cast<std::size_t>(spec.num_hidden_layers));
  for (std::int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    spec.sparse_layers[static_cast<std::size_t>(l)] = is_sparse(l);
  }
}

void read_qwen_moe(const JsonObject& config, ModelSpec& spec, bool normalises) {
  const bool local = config.has("num_local_experts");
  read_experts(config, {.count = local ? "num_local_experts" : "num_experts"}, spec);
  spec.moe.router.norm_topk_prob = config.boolean("norm_topk_prob", normalises);
  const std::int64_t step = config.positive_integer("decoder_sparse_step", 1);
  const std::vector<std::int64_t> dense = config.has("mlp_only_layers")
                                              ? config.integers("mlp_only_layers")
                                              : std::vector<std::int64_t>();
  set_sparse_layers(spec, [&](std::int64_t l) {
    return (l + 1) % step == 0 && std::ranges::find(dense, l) == dense.end();
  });
}

double number_or_null(const JsonObject& config, std::string_view field, double fallback) {
  return config.is_null(field) ? 0 : config.positive_number(field, fallback);
}

void read_window(const JsonObject& config, ModelSpec& spec, std::int64_t fallback) {
  constexpr const char* kField = "sliding_window";
  spec.attention.window = config.is_null(kField) ? 0 : config.positive_integer(kField, fallback);
}

}  // namespace assay
