// config.json and generation_config.json of a HuggingFace checkpoint.
#include "assay/spec.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "assay/error.h"
#include "base/mapped_file.h"
#include "formats/json_file.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

// What this version computes; anything else must not be run as if it were this.
void require_plain_qwen3(const JsonObject& config) {
  const std::string type = config.string("model_type");
  if (type != "qwen3") {
    throw input_error(config.where("model_type"), "\"" + type + "\"",
                      "\"qwen3\" (the architecture this version supports)");
  }
  const auto refuse_unless = [&](bool fine, std::string_view field, std::string_view expected) {
    if (!fine) throw input_error(config.where(field), config.text(field), expected);
  };
  refuse_unless(!config.boolean("attention_bias", false), "attention_bias",
                "false (biased projections are not supported yet)");
  refuse_unless(!config.boolean("use_sliding_window", false), "use_sliding_window",
                "false (sliding windows are not supported yet)");
  refuse_unless(config.string("hidden_act", "silu") == "silu", "hidden_act", "\"silu\"");
  refuse_unless(!config.has("rope_scaling"), "rope_scaling",
                "null (scaled rotary embeddings are not supported yet)");
}

// Top-level `rope_theta` in configs of transformers 4, in `rope_parameters` since 5.
double rope_theta(const JsonObject& config) {
  if (!config.has("rope_parameters")) return config.positive_number("rope_theta");
  const JsonObject rope = config.object("rope_parameters");
  const std::string type = rope.string("rope_type", "default");
  if (type != "default") {
    throw input_error(rope.where("rope_type"), "\"" + type + "\"",
                      "\"default\" (scaled rotary embeddings are not supported yet)");
  }
  return rope.positive_number("rope_theta");
}

}  // namespace

ModelSpec read_spec(const fs::path& directory) { return read_spec_file(directory / "config.json"); }

ModelSpec read_spec_file(const fs::path& config_json) {
  const JsonObject config(config_json);
  require_plain_qwen3(config);
  ModelSpec spec;
  spec.model_type = config.string("model_type");
  spec.qk_norm = true;
  spec.vocab_size = config.positive_integer("vocab_size");
  spec.hidden_size = config.positive_integer("hidden_size");
  spec.intermediate_size = config.positive_integer("intermediate_size");
  spec.num_hidden_layers = config.positive_integer("num_hidden_layers");
  spec.num_attention_heads = config.positive_integer("num_attention_heads");
  spec.num_key_value_heads = config.positive_integer("num_key_value_heads");
  spec.head_dim = config.positive_integer("head_dim");
  spec.max_position_embeddings = config.positive_integer("max_position_embeddings");
  spec.rms_norm_eps = config.positive_number("rms_norm_eps");
  spec.rope_theta = rope_theta(config);
  spec.tie_word_embeddings = config.boolean("tie_word_embeddings", false);
  if (spec.num_attention_heads % spec.num_key_value_heads != 0) {
    throw input_error(
        config.where("num_key_value_heads"), std::to_string(spec.num_key_value_heads),
        fmt::format("a divisor of num_attention_heads ({})", spec.num_attention_heads));
  }
  if (spec.head_dim % 2 != 0) {
    throw input_error(config.where("head_dim"), std::to_string(spec.head_dim),
                      "an even number (rotary embedding works on pairs)");
  }
  return spec;
}

std::vector<std::int64_t> read_eos_token_ids(const fs::path& directory) {
  constexpr const char* kField = "eos_token_id";
  for (const char* file : {"generation_config.json", "config.json"}) {
    if (!is_there(directory / file)) continue;
    const JsonObject config(directory / file);
    if (config.has(kField)) return config.integers(kField);
  }
  return {};
}

}  // namespace assay
