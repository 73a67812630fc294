// config.json and generation_config.json of a HuggingFace checkpoint.
#include "model/read_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "assay/error.h"
#include "base/mapped_file.h"
#include "formats/gguf_parts.h"
#include "formats/json_file.h"
#include "model/checkpoint.h"
#include "models/config_fields.h"
#include "models/model_type.h"
#include "models/text_tower.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

// Fields that all types have.
void read_sizes(const JsonObject& config, const ModelType& type, ModelSpec& spec) {
  spec.vocab_size = config.positive_integer("vocab_size");
  spec.hidden_size = config.positive_integer("hidden_size");
  spec.intermediate_size = config.positive_integer(type.width_field);
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

}  // namespace

std::vector<std::string> model_types() {
  std::vector<std::string> names = tower_types();
  for (const ModelType& type : all_model_types()) names.emplace_back(type.name);
  std::ranges::sort(names);
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

ModelSpec read_spec_config(const JsonObject& whole) {
  const JsonObject config = language_config(whole);
  ModelSpec spec;
  spec.model_type = config.string("model_type");
  const auto types = all_model_types();
  const auto type = std::ranges::find(types, spec.model_type, &ModelType::name);
  if (type == types.end()) {
    throw input_error(config.where("model_type"), "\"" + spec.model_type + "\"",
                      fmt::format("one of {}", fmt::join(model_types(), ", ")));
  }
  read_sizes(config, *type, spec);
  spec.tie_word_embeddings = config.boolean("tie_word_embeddings", type->ties);
  read_activation(config, type->activation_field, type->activation, spec);
  spec.exchanged_experts = exchanges_experts(whole.string("model_type"));
  type->read(config, spec);
  if (type->read_rope != nullptr) {
    type->read_rope(config, spec);
  } else {
    read_rope(config, type->rope, spec);
  }
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
    if (!config.has("text_config")) continue;
    if (const JsonObject text = config.object("text_config"); text.has(kField)) {
      return text.integers(kField);
    }
  }
  return {};
}

}  // namespace assay
