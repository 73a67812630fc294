#include "models/gguf_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "assay/error.h"
#include "formats/gguf_quants.h"

namespace assay {
namespace {

// Scales that no model of these architectures has, but a file may set.
constexpr std::array<std::string_view, 5> kForeignKeys = {
    "logit_scale", "embedding_scale", "residual_scale", "attention.scale", "attention.clamp_kqv"};

}  // namespace

GgufFields::GgufFields(const GgufParts& parts, std::string_view architecture, bool rotates_partly,
                       bool sizes_by_layer)
    : parts_(parts), file_(parts.head()), architecture_(architecture) {
  for (const std::string_view name : kForeignKeys) {
    if (has(name)) throw input_error(where(name), "present", "no such key in a model of this kind");
  }
  read_sizes(rotates_partly, sizes_by_layer);
  read_token_ids();
}

std::string GgufFields::key(std::string_view name) const {
  return fmt::format("{}.{}", architecture_, name);
}

const GgufTensor& GgufFields::tensor(std::string_view name) const {
  const GgufTensor* found = parts_.find(name);
  if (found == nullptr) throw input_error(file_.tensor_where(name), "missing", "a tensor");
  return *found;
}

std::vector<std::int64_t> GgufFields::of_layers(std::string_view name,
                                                std::int64_t fallback) const {
  const auto layers = static_cast<std::size_t>(layers_);
  if (!file_.is_list(key(name))) return std::vector(layers, integer(name, fallback));
  const std::vector<double> listed = file_.numbers(key(name));
  std::vector<std::int64_t> all;
  for (const double value : listed) {
    if (!(value >= 0 && value <= std::numeric_limits<std::int32_t>::max()) ||
        std::trunc(value) != value) {
      throw input_error(where(name), fmt::format("{}", value), "whole numbers");
    }
    all.push_back(static_cast<std::int64_t>(value));
  }
  if (all.size() == layers) return all;
  throw input_error(where(name), fmt::format("{} values", all.size()),
                    fmt::format("one for each of {} layers", layers_));
}

std::int64_t GgufFields::of_first_layer(std::string_view name, std::int64_t fallback,
                                        bool may_differ) const {
  const std::vector<std::int64_t> all = of_layers(name, fallback);
  for (const std::int64_t value : all) {
    if (may_differ || value == all.front()) continue;
    throw input_error(where(name), fmt::format("{} and {}", all.front(), value),
                      "the same in all layers");
  }
  return all.empty() ? fallback : all.front();
}

void GgufFields::read_sizes(bool rotates_partly, bool sizes_by_layer) {
  layers_ = integer("block_count");
  hidden_ = integer("embedding_length");
  heads_ = integer("attention.head_count");
  if (heads_ == 0) throw input_error(where("attention.head_count"), "0", "a positive number");
  std::size_t tensors = 0;
  for (const GgufFile& file : parts_.files()) tensors += file.tensors().size();
  if (layers_ > static_cast<std::int64_t>(tensors)) {
    throw input_error(where("block_count"), std::to_string(layers_),
                      fmt::format("no more layers than tensors ({})", tensors));
  }
  head_dim_ = integer("attention.key_length", hidden_ / heads_);
  const std::int64_t value_length = integer("attention.value_length", head_dim_);
  if (value_length != head_dim_) {
    throw input_error(where("attention.value_length"), std::to_string(value_length),
                      fmt::format("{}, as long as keys", head_dim_));
  }
  const std::int64_t rotary = integer("rope.dimension_count", head_dim_);
  if (rotary != head_dim_ && !rotates_partly) {
    throw input_error(where("rope.dimension_count"), std::to_string(rotary),
                      fmt::format("{}, all of a head", head_dim_));
  }
  config = {
      {"model_type", nullptr},
      {"vocab_size", tensor("token_embd.weight").shape.front()},
      {"hidden_size", hidden_},
      {"num_hidden_layers", layers_},
      {"num_attention_heads", heads_},
      {"num_key_value_heads", of_first_layer("attention.head_count_kv", heads_, sizes_by_layer)},
      {"head_dim", head_dim_},
      {"hidden_act", "silu"},
      {"max_position_embeddings", integer("context_length")},
      {"rms_norm_eps", file_.number(key("attention.layer_norm_rms_epsilon"))},
      {"rope_theta", number("rope.freq_base", 10000)},
      {"rope_scaling", rope_scaling()},
      {"attention_bias", parts_.find("blk.0.attn_q.bias") != nullptr},
      {"tie_word_embeddings", parts_.find("output.weight") == nullptr}};
  // A model of experts alone may be without.
  constexpr std::string_view kWidth = "feed_forward_length";
  if (has(kWidth) || !has("expert_feed_forward_length")) {
    config["intermediate_size"] =
        has(kWidth) ? of_first_layer(kWidth, 0, sizes_by_layer) : integer(kWidth);
  }
}

// From the keys alone; tensors of factors come on top.
OrderedJson GgufFields::rope_scaling() const {
  const std::string_view type =
      file_.optional_string(key("rope.scaling.type")).value_or(has_factor() ? "linear" : "none");
  if (type == "none" || type == "longrope") return nullptr;
  const double factor = number("rope.scaling.factor", 1);
  if (type == "linear") {
    if (factor == 1) return nullptr;
    return {{"rope_type", "linear"}, {"factor", factor}};
  }
  if (type != "yarn") {
    throw input_error(where("rope.scaling.type"), "'" + std::string(type) + "'",
                      "none, linear, yarn or longrope");
  }
  for (const char* name : {"rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor"}) {
    const double value = number(name, 1);
    if (value != 1) throw input_error(where(name), fmt::format("{}", value), "1");
  }
  OrderedJson scaling = {
      {"rope_type", "yarn"},
      {"factor", factor},
      {"original_max_position_embeddings",
       integer("rope.scaling.original_context_length", integer("context_length"))}};
  for (const char* name : {"beta_fast", "beta_slow"}) {
    const std::string full = fmt::format("rope.scaling.yarn_{}", name);
    if (has(full)) scaling[name] = number(full, 0);
  }
  return scaling;
}
std::vector<float> GgufFields::rope_factors(std::string_view name) const {
  const GgufTensor& factors = tensor(name);
  const std::int64_t pairs = integer("rope.dimension_count", head_dim_) / 2;
  if (factors.type != GgmlType::kF32 || factors.shape != Shape{pairs}) {
    throw input_error(
        file_.tensor_where(name),
        fmt::format("{} {}", ggml_layout(factors.type).name, shape_text(factors.shape)),
        fmt::format("F32 [{}]", pairs));
  }
  std::vector<float> values(factors.elements());
  dequantize(factors.type, factors.bytes, values);
  for (const float value : values) {
    if (!(value > 0) || !std::isfinite(value)) {
      throw input_error(file_.tensor_where(name), fmt::format("{}", value), "positive factors");
    }
  }
  return values;
}

OrderedJson GgufFields::layer_types(std::int64_t period) const {
  constexpr std::string_view kPattern = "attention.sliding_window_pattern";
  const std::vector<double> listed =
      file_.is_list(key(kPattern)) ? file_.numbers(key(kPattern)) : std::vector<double>();
  if (listed.empty()) {
    period = integer(kPattern, period);
  } else if (std::ssize(listed) != layers_) {
    throw input_error(where(kPattern), fmt::format("{} values", listed.size()),
                      fmt::format("one for each of {} layers", layers_));
  }
  OrderedJson types = OrderedJson::array();
  for (std::int64_t l = 0; l < layers_; ++l) {
    const bool slides = listed.empty() ? period > 0 && (l + 1) % period != 0
                                       : listed[static_cast<std::size_t>(l)] != 0;
    types.push_back(slides ? "sliding_attention" : "full_attention");
  }
  return types;
}

// Reads all three ids, since llama.cpp ends a text at any of them.
void GgufFields::read_token_ids() {
  std::vector<std::int64_t> ends;
  for (const char* name : {"eos", "eot", "eom"}) {
    const std::string id = fmt::format("tokenizer.ggml.{}_token_id", name);
    if (!file_.has(id)) continue;
    const std::int64_t value = file_.integer(id);
    if (std::ranges::find(ends, value) == ends.end()) ends.push_back(value);
  }
  if (file_.has("tokenizer.ggml.bos_token_id")) {
    config["bos_token_id"] = file_.integer("tokenizer.ggml.bos_token_id");
  }
  if (!ends.empty()) config["eos_token_id"] = ends;
}

void read_qwen_moe_gguf(GgufFields& gguf, bool normed) {
  gguf.config["num_experts"] = gguf.integer("expert_count");
  gguf.config["num_experts_per_tok"] = gguf.integer("expert_used_count");
  gguf.config["moe_intermediate_size"] = gguf.integer("expert_feed_forward_length");
  gguf.config["decoder_sparse_step"] = 1;
  OrderedJson dense = OrderedJson::array();
  for (std::int64_t l = 0; l < gguf.layers(); ++l) {
    if (gguf.parts().find(fmt::format("blk.{}.ffn_gate.weight", l)) != nullptr) dense.push_back(l);
  }
  gguf.config["mlp_only_layers"] = dense;
  gguf.config["norm_topk_prob"] = gguf.boolean("expert_weights_norm", normed);
}

void read_shared_expert_gguf(GgufFields& gguf) {
  gguf.config["shared_expert_intermediate_size"] =
      gguf.integer("expert_shared_feed_forward_length");
}

}  // namespace assay
