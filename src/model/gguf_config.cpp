// The keys are llama.cpp's (gguf-py, constants.py): "qwen3.block_count" and so on.
#include "model/gguf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <optional>
#include <string>
#include <vector>

#include "assay/error.h"

namespace assay {
namespace {

constexpr std::array<std::string_view, 8> kArchitectures = {
    "gemma2", "gemma3", "llama", "olmo2", "phi3", "qwen2", "qwen3", "qwen3moe"};

// Other scales of the forward pass: no model of kArchitectures has them, yet files may say so.
constexpr std::array<std::string_view, 5> kForeignKeys = {
    "logit_scale", "embedding_scale", "residual_scale", "attention.scale", "attention.clamp_kqv"};

// Llama 3.1 and 3.2: the rotary frequencies' factors come from these, and only from these.
constexpr std::array<double, 2> kLlama3Factors = {8, 32};
constexpr double kLlama3LowFrequency = 1;
constexpr double kLlama3HighFrequency = 4;
constexpr double kLlama3Context = 8192;
constexpr double kFactorTolerance = 1e-4;  // they were computed in FP32

class ConfigReader {
 public:
  explicit ConfigReader(const GgufParts& parts)
      : parts_(parts), file_(parts.head()), architecture_(gguf_architecture(file_)) {}

  OrderedJson read() {
    for (const std::string_view key : kForeignKeys) {
      if (has(key)) throw input_error(where(key), "a key", "none, in a model of this kind");
    }
    read_sizes();
    if (architecture_ == "llama") read_llama();
    if (architecture_ == "qwen2") config_["model_type"] = "qwen2";
    if (architecture_ == "qwen3") config_["model_type"] = "qwen3";
    if (architecture_ == "qwen3moe") read_qwen3_moe();
    if (architecture_ == "gemma2") read_gemma2();
    if (architecture_ == "gemma3") read_gemma3();
    if (architecture_ == "olmo2") read_olmo2();
    if (architecture_ == "phi3") read_phi3();
    read_token_ids();
    return std::move(config_);
  }

 private:
  std::string key(std::string_view name) const { return fmt::format("{}.{}", architecture_, name); }
  std::string where(std::string_view name) const { return file_.where(key(name)); }
  bool has(std::string_view name) const { return file_.has(key(name)); }
  std::int64_t integer(std::string_view name) const { return file_.integer(key(name)); }
  std::int64_t integer(std::string_view name, std::int64_t fallback) const {
    return file_.integer(key(name), fallback);
  }
  double number(std::string_view name, double fallback) const {
    return has(name) ? file_.number(key(name)) : fallback;
  }
  const GgufTensor& tensor(std::string_view name) const {
    const GgufTensor* found = parts_.find(name);
    if (found == nullptr) throw input_error(file_.tensor_where(name), "missing", "a tensor");
    return *found;
  }

  void read_sizes() {
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
    if (rotary != head_dim_ && architecture_ != "phi3") {
      throw input_error(where("rope.dimension_count"), std::to_string(rotary),
                        fmt::format("{}, all of a head", head_dim_));
    }
    config_ = {{"model_type", nullptr},
               {"vocab_size", tensor("token_embd.weight").shape.front()},
               {"hidden_size", hidden_},
               {"intermediate_size", integer("feed_forward_length")},
               {"num_hidden_layers", layers_},
               {"num_attention_heads", heads_},
               {"num_key_value_heads", integer("attention.head_count_kv", heads_)},
               {"head_dim", head_dim_},
               {"hidden_act", "silu"},
               {"max_position_embeddings", integer("context_length")},
               {"rms_norm_eps", file_.number(key("attention.layer_norm_rms_epsilon"))},
               {"rope_theta", number("rope.freq_base", 10000)},
               {"rope_scaling", rope_scaling()},
               {"attention_bias", parts_.find("blk.0.attn_q.bias") != nullptr},
               {"tie_word_embeddings", parts_.find("output.weight") == nullptr}};
  }

  // What the keys say; tensors of factors come on top of that.
  OrderedJson rope_scaling() const {
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
  bool has_factor() const { return has("rope.scaling.factor"); }

  void read_llama() {
    if (integer("expert_count", 0) != 0) {
      throw input_error(where("expert_count"), std::to_string(integer("expert_count")),
                        "0 (mixtures of this architecture are not supported)");
    }
    // Mistral's models are files of this architecture too; a window is all that sets them apart.
    const std::int64_t window = integer("attention.sliding_window", 0);
    config_["model_type"] = window > 0 ? "mistral" : "llama";
    if (window > 0) config_["sliding_window"] = window;
    config_["mlp_bias"] = parts_.find("blk.0.ffn_gate.bias") != nullptr;
    if (parts_.find("rope_freqs.weight") != nullptr) {
      config_["rope_scaling"] = frequency_factors(rope_factors("rope_freqs.weight"));
    }
  }

  // Divisors of the rotary frequencies, one for each pair of dimensions.
  std::vector<float> rope_factors(std::string_view name) const {
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

  OrderedJson frequency_factors(const std::vector<float>& factors) const {
    if (std::ranges::all_of(factors, [](float f) { return f == 1; })) {
      return config_["rope_scaling"];
    }
    for (const double factor : kLlama3Factors) {
      if (!equals_llama3(factors, factor)) continue;
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
            {"original_max_position_embeddings", integer("context_length")}};
  }

  bool equals_llama3(const std::vector<float>& factors, double factor) const {
    const double theta = number("rope.freq_base", 10000);
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

  void read_qwen3_moe() {
    config_["model_type"] = "qwen3_moe";
    config_["num_experts"] = integer("expert_count");
    config_["num_experts_per_tok"] = integer("expert_used_count");
    config_["moe_intermediate_size"] = integer("expert_feed_forward_length");
    config_["norm_topk_prob"] = file_.boolean(key("expert_weights_norm"), true);
    config_["decoder_sparse_step"] = 1;
    OrderedJson dense = OrderedJson::array();
    for (std::int64_t l = 0; l < layers_; ++l) {
      if (parts_.find(fmt::format("blk.{}.ffn_gate.weight", l)) != nullptr) dense.push_back(l);
    }
    config_["mlp_only_layers"] = dense;
  }

  void read_gemma(std::int64_t period, std::int64_t layers_of_27b) {
    config_.erase("hidden_act");
    config_["hidden_activation"] = "gelu_pytorch_tanh";
    config_["sliding_window"] = integer("attention.sliding_window");
    config_["layer_types"] = layer_types(period);
    // No key says by what the largest models scale their scores; llama.cpp tells them by their
    // number of layers.
    config_["query_pre_attn_scalar"] = layers_ == layers_of_27b ? hidden_ / heads_ : head_dim_;
  }

  // Every layer whose number is a multiple of `period` sees everything, the others a window.
  OrderedJson layer_types(std::int64_t period) const {
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

  void read_gemma2() {
    config_["model_type"] = "gemma2";
    read_gemma(2, 46);
    config_["attn_logit_softcapping"] = number("attn_logit_softcapping", 50);
    config_["final_logit_softcapping"] = number("final_logit_softcapping", 30);
  }

  void read_gemma3() {
    config_["model_type"] = "gemma3_text";
    read_gemma(6, 62);
    config_["rope_local_base_freq"] = number("rope.freq_base_swa", 10000);
    if (has("final_logit_softcapping")) {
      config_["final_logit_softcapping"] = number("final_logit_softcapping", 0);
    }
  }

  void read_olmo2() {
    // OLMo 3's files are of this architecture, and have a window.
    if (integer("attention.sliding_window", 0) != 0) {
      throw input_error(where("attention.sliding_window"),
                        std::to_string(integer("attention.sliding_window")),
                        "none (OLMo 3 is not supported)");
    }
    config_["model_type"] = "olmo2";
  }

  void read_phi3() {
    config_["model_type"] = "phi3";
    const std::int64_t rotary = integer("rope.dimension_count", head_dim_);
    config_["partial_rotary_factor"] = static_cast<double>(rotary) / static_cast<double>(head_dim_);
    const std::int64_t window = integer("attention.sliding_window", 0);
    config_["sliding_window"] = window > 0 ? OrderedJson(window) : OrderedJson(nullptr);
    const std::int64_t context = integer("context_length");
    const std::int64_t original = integer("rope.scaling.original_context_length", context);
    config_["original_max_position_embeddings"] = original;
    if (parts_.find("rope_factors_long.weight") == nullptr) return;
    OrderedJson scaling = {{"rope_type", "longrope"},
                           {"short_factor", rope_factors("rope_factors_short.weight")},
                           {"long_factor", rope_factors("rope_factors_long.weight")}};
    // Where it is what the lengths give, as in every published model, their own double is better
    // than its FP32.
    const double stated = number("rope.scaling.attn_factor", 1);
    const double stretch = static_cast<double>(context) / static_cast<double>(original);
    const double given =
        stretch > 1 ? std::sqrt(1 + std::log(stretch) / std::log(static_cast<double>(original)))
                    : 1;
    if (std::abs(stated / given - 1) > 1e-6) scaling["attention_factor"] = stated;
    config_["rope_scaling"] = std::move(scaling);
  }

  // llama.cpp ends a text at any of the three.
  void read_token_ids() {
    std::vector<std::int64_t> ends;
    for (const char* name : {"eos", "eot", "eom"}) {
      const std::string id = fmt::format("tokenizer.ggml.{}_token_id", name);
      if (!file_.has(id)) continue;
      const std::int64_t value = file_.integer(id);
      if (std::ranges::find(ends, value) == ends.end()) ends.push_back(value);
    }
    if (file_.has("tokenizer.ggml.bos_token_id")) {
      config_["bos_token_id"] = file_.integer("tokenizer.ggml.bos_token_id");
    }
    if (!ends.empty()) config_["eos_token_id"] = ends;
  }

  const GgufParts& parts_;
  const GgufFile& file_;
  std::string_view architecture_;
  std::int64_t layers_ = 0;
  std::int64_t hidden_ = 0;
  std::int64_t heads_ = 0;
  std::int64_t head_dim_ = 0;
  OrderedJson config_;
};

}  // namespace

std::string_view gguf_architecture(const GgufFile& file) {
  const std::string_view architecture = file.string("general.architecture");
  const auto* found = std::ranges::find(kArchitectures, architecture);
  if (found == kArchitectures.end()) {
    throw input_error(file.where("general.architecture"), "'" + std::string(architecture) + "'",
                      fmt::format("{}", fmt::join(kArchitectures, ", ")));
  }
  return *found;
}

OrderedJson gguf_config(const GgufParts& parts) {
  // As text and back: readers tell unsigned from signed integers, as the parser leaves them.
  return OrderedJson::parse(ConfigReader(parts).read().dump());
}

}  // namespace assay
