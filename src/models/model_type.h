// The model types: what a family's file says of each.
#pragma once

#include <span>
#include <string_view>

#include "formats/json_file.h"
#include "models/builder.h"

namespace assay {

struct ModelType {
  std::string_view name;  // config.json's model_type
  // Reads what the type's config has beyond the sizes and the rotary embedding, and fills in what
  // is the same of all its models. Throws input errors that name the field.
  void (*read)(const JsonObject& config, ModelSpec& spec);
  void (*layer)(Builder& b);
  const char* activation_field = "hidden_act";
  const char* activation = "silu";  // where the config does not say
  bool ties = false;                // the embedding and lm_head, where the config does not say
};

// By name, in alphabetical order.
std::span<const ModelType> all_model_types();

// The layer of Llama, with the names that most families share: norms before both blocks.
void llama_layer(Builder& b);

}  // namespace assay
