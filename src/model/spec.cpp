// config.json and generation_config.json of a HuggingFace checkpoint.
#include "assay/spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "assay/error.h"
#include "base/mapped_file.h"
#include "formats/gguf_parts.h"
#include "formats/json_file.h"
#include "model/checkpoint.h"
#include "model/spec_config.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

void refuse_unless(bool fine, const JsonObject& config, std::string_view field,
                   std::string_view expected) {
  if (!fine) throw input_error(config.where(field), config.text(field), expected);
}

// What all types have, under the same names.
void read_sizes(const JsonObject& config, ModelSpec& spec) {
  spec.vocab_size = config.positive_integer("vocab_size");
  spec.hidden_size = config.positive_integer("hidden_size");
  spec.intermediate_size = config.positive_integer("intermediate_size");
  spec.num_hidden_layers = config.positive_integer("num_hidden_layers");
  spec.num_attention_heads = config.positive_integer("num_attention_heads");
  spec.max_position_embeddings = config.positive_integer("max_position_embeddings");
  spec.rms_norm_eps = config.positive_number("rms_norm_eps");
  refuse_unless(spec.num_hidden_layers <= kMostLayers, config, "num_hidden_layers",
                fmt::format("at most {}", kMostLayers));
  if (spec.num_attention_heads > spec.hidden_size) {
    throw input_error(config.where("num_attention_heads"), config.text("num_attention_heads"),
                      fmt::format("at most hidden_size ({})", spec.hidden_size));
  }
}

// Older types made heads of what hidden_size gives each, and as many keys as queries.
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

// `layer_types`, or what the type makes of its older fields.
template <class IsSliding>
void read_layer_types(const JsonObject& config, ModelSpec& spec, const IsSliding& is_sliding) {
  constexpr const char* kField = "layer_types";
  const auto layers = static_cast<std::size_t>(spec.num_hidden_layers);
  spec.sliding_layers.resize(layers);
  if (!config.has(kField)) {
    for (std::size_t l = 0; l < layers; ++l) spec.sliding_layers[l] = is_sliding(l);
    return;
  }
  const std::vector<std::string> types = config.strings(kField);
  if (types.size() != layers) {
    throw input_error(config.where(kField), fmt::format("{} entries", types.size()),
                      fmt::format("{} (num_hidden_layers)", layers));
  }
  for (std::size_t l = 0; l < layers; ++l) {
    spec.sliding_layers[l] = types[l] == "sliding_attention";
    if (spec.sliding_layers[l] || types[l] == "full_attention") continue;
    throw input_error(config.where(kField), "\"" + types[l] + "\"",
                      "\"sliding_attention\" or \"full_attention\"");
  }
}

// A number, or null: 0. Where the field is absent, transformers has a default.
double number_or_null(const JsonObject& config, std::string_view field, double fallback) {
  return config.is_null(field) ? 0 : config.positive_number(field, fallback);
}

void read_window(const JsonObject& config, ModelSpec& spec, std::int64_t fallback) {
  constexpr const char* kField = "sliding_window";
  spec.attention.window = config.is_null(kField) ? 0 : config.positive_integer(kField, fallback);
}

// Qwen's window counts only where it is switched on, and from max_window_layers on.
void read_qwen_window(const JsonObject& config, ModelSpec& spec) {
  if (!config.boolean("use_sliding_window", false)) return;
  read_window(config, spec, 4096);
  if (spec.model_type == "qwen3_moe") return;
  const std::int64_t from =
      config.has("max_window_layers") ? config.integers("max_window_layers").front() : 28;
  read_layer_types(config, spec, [&](std::size_t l) { return std::cmp_greater_equal(l, from); });
}

void read_moe(const JsonObject& config, ModelSpec& spec) {
  const char* count = config.has("num_local_experts") ? "num_local_experts" : "num_experts";
  MoeSpec& moe = spec.moe;
  moe.num_experts = config.positive_integer(count);
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

void read_llama(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, true);
  spec.qkv_bias = spec.o_bias = config.boolean("attention_bias", false);
  spec.mlp_bias = config.boolean("mlp_bias", false);
}

void read_mistral(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, true);
  read_window(config, spec, 4096);
}

void read_phi3(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, true);
  read_window(config, spec, 0);
}

void read_olmo2(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, true);
  spec.qkv_bias = spec.o_bias = config.boolean("attention_bias", false);
  spec.qk_norm = true;
  spec.qk_norms.full_width = true;
  spec.block.norms = Norms::kAfter;
  spec.rope.rounded_once = true;
  for (NormSpec* norm : spec.norms()) norm->rounded_once = true;
}

void read_gemma(const JsonObject& config, ModelSpec& spec) {
  const bool second = spec.model_type == "gemma2";
  read_heads(config, spec, false);
  spec.qkv_bias = spec.o_bias = config.boolean("attention_bias", false);
  spec.qk_norm = !second;
  spec.embedding.scale = std::sqrt(static_cast<double>(spec.hidden_size));
  spec.block.norms = Norms::kAround;
  for (NormSpec* norm : spec.norms()) norm->one_plus = norm->rounded_once = true;
  spec.attention.scale = 1 / std::sqrt(config.positive_number("query_pre_attn_scalar", 256));
  // Gemma 3 has the fields of both and applies one (transformers 5.23).
  if (second) spec.attention.softcap = number_or_null(config, "attn_logit_softcapping", 50);
  spec.head.softcap = number_or_null(config, "final_logit_softcapping", second ? 30 : 0);
  refuse_unless(!config.boolean("use_bidirectional_attention", false), config,
                "use_bidirectional_attention", "false");
  read_window(config, spec, 4096);
  const auto pattern =
      static_cast<std::size_t>(second ? 2 : config.positive_integer("sliding_window_pattern", 6));
  read_layer_types(config, spec, [&](std::size_t l) { return (l + 1) % pattern != 0; });
}

struct ModelType {
  std::string_view name;
  void (*read)(const JsonObject&, ModelSpec&);
  const char* activation_field = "hidden_act";
  const char* activation = "silu";
  bool ties = false;  // where the config does not say
};
constexpr std::array<ModelType, 9> kTypes = {{
    {"gemma2", read_gemma, "hidden_activation", "gelu_pytorch_tanh", true},
    {"gemma3_text", read_gemma, "hidden_activation", "gelu_pytorch_tanh", true},
    {"llama", read_llama},
    {"mistral", read_mistral},
    {"olmo2", read_olmo2},
    {"phi3", read_phi3},
    {"qwen2", read_qwen2},
    {"qwen3", read_qwen3},
    {"qwen3_moe", read_qwen3},
}};

}  // namespace

std::vector<std::string> model_types() {
  std::vector<std::string> names;
  for (const ModelType& type : kTypes) names.emplace_back(type.name);
  return names;
}

ModelSpec read_spec(const fs::path& checkpoint) {
  std::string file;
  OrderedJson config = read_config(checkpoint, &file);
  return read_spec_config(JsonObject(std::move(file), std::move(config)));
}

ModelSpec read_spec_file(const fs::path& config_json) {
  return read_spec_config(JsonObject(config_json));
}

ModelSpec read_spec_config(const JsonObject& config) {
  ModelSpec spec;
  spec.model_type = config.string("model_type");
  const auto* type = std::ranges::find(kTypes, spec.model_type, &ModelType::name);
  if (type == kTypes.end()) {
    throw input_error(config.where("model_type"), "\"" + spec.model_type + "\"",
                      fmt::format("one of {}", fmt::join(model_types(), ", ")));
  }
  read_sizes(config, spec);
  spec.tie_word_embeddings = config.boolean("tie_word_embeddings", type->ties);
  read_activation(config, type->activation_field, type->activation, spec);
  type->read(config, spec);
  read_rope(config, spec);
  return spec;
}

std::vector<std::int64_t> read_eos_token_ids(const fs::path& directory) {
  constexpr const char* kField = "eos_token_id";
  if (gguf_file_of(directory)) {
    std::string file;
    OrderedJson json = read_config(directory, &file);
    const JsonObject config(std::move(file), std::move(json));
    return config.has(kField) ? config.integers(kField) : std::vector<std::int64_t>();
  }
  for (const char* file : {"generation_config.json", "config.json"}) {
    if (!is_there(directory / file)) continue;
    const JsonObject config(directory / file);
    if (config.has(kField)) return config.integers(kField);
  }
  return {};
}

}  // namespace assay
