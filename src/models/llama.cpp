// Llama 2 and 3; Mistral, which adds a sliding window; and Ministral 3, whose queries grow with
// their position.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "assay/error.h"
#include "models/config_fields.h"
#include "models/gguf_fields.h"
#include "models/model_type.h"
#include "models/parts/pre_norm.h"

namespace assay {

void llama_layer(Builder& b) { pre_norm_layer(b, {}, {}); }

namespace {

void read_llama(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, true);
  spec.qkv_bias = spec.o_bias = config.boolean("attention_bias", false);
  spec.mlp_bias = config.boolean("mlp_bias", false);
}

void read_mistral(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, true);
  read_window(config, spec, 4096);
}

// Without rotary parameters, transformers fills in those of the published models.
JsonObject with_ministral3_rope(const JsonObject& config) {
  if (gives_rope(config)) return config;
  const OrderedJson published = {{"rope_type", "yarn"},
                                 {"rope_theta", 1e6},
                                 {"factor", 16.0},
                                 {"original_max_position_embeddings", 16384},
                                 {"beta_fast", 32.0},
                                 {"beta_slow", 1.0},
                                 {"mscale", 1.0},
                                 {"mscale_all_dim", 1.0},
                                 {"llama_4_scaling_beta", 0.1}};
  return config.completed(OrderedJson::object(), {{"rope_scaling", published}});
}

void read_ministral3(const JsonObject& config, ModelSpec& spec) {
  read_heads(
      config.completed({{"head_dim", 128}, {"num_key_value_heads", 8}}, OrderedJson::object()),
      spec, true);
  if (config.has("sliding_window")) read_window(config, spec, 0);
}

void read_ministral3_rope(const JsonObject& config, ModelSpec& spec) {
  const JsonObject with = with_ministral3_rope(config);
  read_rope(with, {}, spec);
  const JsonObject rope = rope_object(with);
  spec.attention.growth = rope.positive_number("llama_4_scaling_beta");
  spec.attention.growth_length = spec.rope_parameters.original_length;
}

// Llama 3.1 and 3.2 compute the rotary frequencies' factors only from these.
constexpr std::array<double, 2> kLlama3Factors = {8, 32};
constexpr double kLlama3LowFrequency = 1;
constexpr double kLlama3HighFrequency = 4;
constexpr double kLlama3Context = 8192;
constexpr double kFactorTolerance = 1e-4;  // the file's factors were computed in FP32

bool equals_llama3(const GgufFields& gguf, const std::vector<float>& factors, double factor) {
  const double theta = gguf.number("rope.freq_base", 10000);
  for (std::size_t i = 0; i < factors.size(); ++i) {
    const double wavelength =
        2 * std::numbers::pi *
        std::pow(theta, static_cast<double>(i) / static_cast<double>(factors.size()));
    const double turns = kLlama3Context / wavelength;
    double expected = 1;
    if (turns < kLlama3LowFrequency) {
      expected = factor;
    } else if (turns <= kLlama3HighFrequency) {
      const double smooth =
          (turns - kLlama3LowFrequency) / (kLlama3HighFrequency - kLlama3LowFrequency);
      expected = 1 / ((1 - smooth) / factor + smooth);
    }
    if (std::abs(static_cast<double>(factors[i]) / expected - 1) > kFactorTolerance) return false;
  }
  return true;
}

OrderedJson frequency_factors(const GgufFields& gguf, const std::vector<float>& factors) {
  if (std::ranges::all_of(factors, [](float f) { return f == 1; })) {
    return gguf.config["rope_scaling"];
  }
  for (const double factor : kLlama3Factors) {
    if (!equals_llama3(gguf, factors, factor)) continue;
    return {{"rope_type", "llama3"},
            {"factor", factor},
            {"low_freq_factor", kLlama3LowFrequency},
            {"high_freq_factor", kLlama3HighFrequency},
            {"original_max_position_embeddings", static_cast<std::int64_t>(kLlama3Context)}};
  }
  return {{"rope_type", "longrope"},
          {"short_factor", factors},
          {"long_factor", factors},
          {"attention_factor", 1.0},
          {"original_max_position_embeddings", gguf.integer("context_length")}};
}

void read_llama_gguf(GgufFields& gguf) {
  // Mistral's and Mixtral's files have this architecture too; a window and experts distinguish
  // them.
  const std::int64_t window = gguf.integer("attention.sliding_window", 0);
  if (window > 0) {
    gguf.config["model_type"] = "mistral";
    gguf.config["sliding_window"] = window;
  }
  if (gguf.integer("expert_count", 0) != 0) {
    gguf.config["model_type"] = "mixtral";
    gguf.config["num_local_experts"] = gguf.integer("expert_count");
    gguf.config["num_experts_per_tok"] = gguf.integer("expert_used_count");
  }
  gguf.config["mlp_bias"] = gguf.parts().find("blk.0.ffn_gate.bias") != nullptr;
  if (gguf.parts().find("rope_freqs.weight") != nullptr) {
    gguf.config["rope_scaling"] = frequency_factors(gguf, gguf.rope_factors("rope_freqs.weight"));
  }
}

// llama.cpp rotates neighbours, transformers element i with i + half a head: a head's rows are
// stored as i, i + half, i + 1, i + 1 + half, ...
GgufChange change_llama(const GgufStored& tensor) {
  const bool queries = tensor.name.starts_with("self_attn.q_proj.");
  if (!queries && !tensor.name.starts_with("self_attn.k_proj.")) return {};
  const std::string key =
      fmt::format("{}.attention.head_count", tensor.head.string("general.architecture"));
  std::int64_t heads = tensor.head.integer(key);
  if (!queries) heads = tensor.head.integer(key + "_kv", heads);
  const std::int64_t rows = tensor.shape.front();
  if (heads == 0 || rows % (2 * heads) != 0) {
    throw input_error(tensor.where, "shape " + shape_text(tensor.shape),
                      fmt::format("{} heads of pairs of rows", heads));
  }
  const std::int64_t size = rows / heads;
  const std::int64_t half = size / 2;
  GgufChange change;
  for (std::int64_t row = 0; row < rows; ++row) {
    const std::int64_t in_head = row % size;
    change.rows.push_back(row - in_head + in_head % half * 2 + in_head / half);
  }
  return change;
}

// Mistral Small's files have this architecture too; only Ministral's queries grow.
void read_mistral3_gguf(GgufFields& gguf) {
  if (!gguf.has("attention.temperature_scale")) {
    gguf.config["model_type"] = "mistral";
    gguf.config["sliding_window"] = nullptr;
    return;
  }
  OrderedJson& scaling = gguf.config["rope_scaling"];
  if (!scaling.is_object()) {
    throw input_error(gguf.where("rope.scaling.type"), "no scaling", "yarn");
  }
  scaling["llama_4_scaling_beta"] = gguf.number("attention.temperature_scale", 0);
  const double scale = gguf.number("rope.scaling.yarn_log_multiplier", 0);
  if (scale != 0) scaling["mscale"] = scaling["mscale_all_dim"] = scale;
}

}  // namespace

ModelType llama_type() {
  return {.name = "llama",
          .read = read_llama,
          .layer = llama_layer,
          .gguf = {.architecture = "llama",
                   .read = read_llama_gguf,
                   .names = mixtral_gguf_names(),
                   .change = change_llama}};
}
ModelType ministral3_type() {
  return {.name = "ministral3",
          .read = read_ministral3,
          .layer = llama_layer,
          .read_rope = read_ministral3_rope,
          .gguf = {.architecture = "mistral3",
                   .read = read_mistral3_gguf,
                   .names = {},
                   .change = change_llama}};
}
ModelType mistral_type() { return {.name = "mistral", .read = read_mistral, .layer = llama_layer}; }

}  // namespace assay
