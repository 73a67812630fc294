#include "models/text_tower.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "assay/error.h"

namespace assay {
namespace {

// What transformers' classes for the type fill in.
struct Tower {
  std::string_view type;                  // of the whole config
  std::string_view text_type;             // of text_config, if it does not say
  std::string_view other_text_type = {};  // text_config may say this instead
  std::string_view runs_as = {};  // the model type with text_type's forward pass; empty: its own
  bool ties = false;              // embedding and lm_head, unless the whole config says otherwise
  std::string_view defaults = "{}";   // of fields that text_config may lack
  std::string_view overrides = "{}";  // what its config cannot change
  bool exchanges_experts = false;
};

// With text alone, the three rows of positions of Qwen's rotary embedding are the same.
constexpr std::array<Tower, 8> kTowers = {
    {{.type = "gemma3",
      .text_type = "gemma3_text",
      .ties = true,
      .defaults = R"({"vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216,
        "num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4,
        "head_dim": 256, "max_position_embeddings": 131072, "rms_norm_eps": 1e-6})"},
     {.type = "gemma4",
      .text_type = "gemma4_text",
      .ties = true,
      .defaults = R"({"vocab_size": 262144, "hidden_size": 2304, "intermediate_size": 9216,
        "num_hidden_layers": 30, "num_attention_heads": 8, "num_key_value_heads": 4,
        "head_dim": 256, "max_position_embeddings": 131072, "rms_norm_eps": 1e-6})"},
     {.type = "gemma4_unified",
      .text_type = "gemma4_unified_text",
      .runs_as = "gemma4_text",
      .ties = true,
      .defaults = R"({"vocab_size": 262144, "hidden_size": 2304, "intermediate_size": 9216,
        "num_hidden_layers": 30, "num_attention_heads": 8, "num_key_value_heads": 4,
        "head_dim": 256, "max_position_embeddings": 262144, "rms_norm_eps": 1e-6,
        "sliding_window": 1024})",
      .overrides = R"({"hidden_size_per_layer_input": 0, "enable_moe_block": false})"},
     {.type = "mistral3", .text_type = "mistral", .other_text_type = "ministral3", .ties = true},
     {.type = "qwen3_5",
      .text_type = "qwen3_5_text",
      .defaults = R"({"vocab_size": 248320, "hidden_size": 4096, "intermediate_size": 12288,
        "num_hidden_layers": 32, "num_attention_heads": 16, "num_key_value_heads": 4,
        "head_dim": 256, "max_position_embeddings": 32768, "rms_norm_eps": 1e-6})"},
     {.type = "qwen3_5_moe",
      .text_type = "qwen3_5_moe_text",
      .defaults = R"({"vocab_size": 248320, "hidden_size": 2048, "num_hidden_layers": 40,
        "num_attention_heads": 16, "num_key_value_heads": 2, "head_dim": 256,
        "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "moe_intermediate_size": 512,
        "shared_expert_intermediate_size": 512, "num_experts_per_tok": 8, "num_experts": 256})"},
     {.type = "qwen3_vl",
      .text_type = "qwen3_vl_text",
      .runs_as = "qwen3",
      .defaults = R"({"head_dim": 128, "rope_theta": 500000})",
      .overrides = R"({"use_sliding_window": false})"},
     {.type = "qwen3_vl_moe",
      .text_type = "qwen3_vl_moe_text",
      .runs_as = "qwen3_moe",
      .defaults = R"({"rope_theta": 500000})",
      .overrides = R"({"use_sliding_window": false, "norm_topk_prob": true})",
      .exchanges_experts = true}}};

}  // namespace

std::vector<std::string> tower_types() {
  std::vector<std::string> types;
  for (const Tower& tower : kTowers) types.emplace_back(tower.type);
  return types;
}

JsonObject language_config(const JsonObject& config) {
  const std::string type = config.string("model_type");
  const auto* tower = std::ranges::find(kTowers, type, &Tower::type);
  if (tower == kTowers.end()) return config;
  const JsonObject text = config.object("text_config");
  const std::string own = text.string("model_type", tower->text_type);
  if (own != tower->text_type && (own.empty() || own != tower->other_text_type)) {
    const std::string other = tower->other_text_type.empty()
                                  ? std::string()
                                  : fmt::format(" or \"{}\"", tower->other_text_type);
    throw input_error(text.where("model_type"), "\"" + own + "\"",
                      fmt::format("\"{}\"{} within a {}", tower->text_type, other, type));
  }
  OrderedJson fixed = OrderedJson::parse(tower->overrides);
  fixed["model_type"] = tower->runs_as.empty() ? own : std::string(tower->runs_as);
  fixed["tie_word_embeddings"] = config.boolean("tie_word_embeddings", tower->ties);
  return text.completed(OrderedJson::parse(tower->defaults), fixed);
}

bool exchanges_experts(std::string_view type) {
  const auto* tower = std::ranges::find(kTowers, type, &Tower::type);
  return tower != kTowers.end() && tower->exchanges_experts;
}

namespace {

constexpr std::string_view kModel = "model.";
constexpr std::string_view kLanguage = "language_model.";

}  // namespace

std::string language_name(std::string_view stored) {
  std::string_view rest = stored;
  // model.language_model.layers.0..., language_model.model.layers.0..., language_model.lm_head...
  if (rest.starts_with(kModel) && rest.substr(kModel.size()).starts_with(kLanguage)) {
    return std::string(kModel) + std::string(rest.substr(kModel.size() + kLanguage.size()));
  }
  if (rest.starts_with(kLanguage)) rest.remove_prefix(kLanguage.size());
  return std::string(rest);
}

bool is_beside_language(std::string_view stored) {
  constexpr std::array<std::string_view, 8> kOthers = {
      "visual.",      "vision_tower.", "vision_embedder.",      "embed_vision.", "audio_tower.",
      "embed_audio.", "mtp.",          "multi_modal_projector."};
  if (stored.starts_with(kModel)) stored.remove_prefix(kModel.size());
  return std::ranges::any_of(kOthers,
                             [&](std::string_view other) { return stored.starts_with(other); });
}

std::string tower_name(std::string_view causal) {
  if (!causal.starts_with(kModel)) return std::string(causal);
  return fmt::format("{}{}{}", kModel, kLanguage, causal.substr(kModel.size()));
}

}  // namespace assay
