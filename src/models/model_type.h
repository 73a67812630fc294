// The model types: what a family's file says of each.
#pragma once

#include <span>
#include <string_view>

#include "formats/json_file.h"
#include "models/builder.h"
#include "models/rope_fields.h"

namespace assay {

class GgufFields;

// How llama.cpp's files have the same model (gguf-py: constants.py, tensor_mapping.py).
struct GgufType {
  std::string_view architecture = {};  // general.architecture; empty: none of its own
  // Adds what is the type's own to fields.config. Throws input errors that name the key.
  void (*read)(GgufFields& fields) = nullptr;
  // What these two tensors of a layer are in transformers; all others have the same name.
  std::string_view ffn_norm = "post_attention_layernorm";
  std::string_view ffn_up = "mlp.up_proj";
  bool adds_one_to_norms = false;  // the stored weight is one more
  bool reorders_q_and_k = false;   // their rows are stored for neighbouring pairs
};

struct ModelType {
  std::string_view name;  // config.json's model_type
  // Reads what the type's config has beyond the sizes and the rotary embedding, and fills in what
  // is the same of all its models. Throws input errors that name the field.
  void (*read)(const JsonObject& config, ModelSpec& spec) = nullptr;
  void (*layer)(Builder& b) = nullptr;
  const char* activation_field = "hidden_act";
  const char* activation = "silu";  // where the config does not say
  bool ties = false;                // the embedding and lm_head, where the config does not say
  RopeFields rope = {};
  // In place of the reader that follows `rope`; null: that.
  void (*read_rope)(const JsonObject& config, ModelSpec& spec) = nullptr;
  GgufType gguf = {};
};

// By name, in alphabetical order, and after them those that were added.
std::span<const ModelType> all_model_types();
// Adds a type to those that are known, before anything is read. Not thread-safe.
void add_model_type(const ModelType& type);

// The layer of Llama, with the names that most families share: norms before both blocks.
void llama_layer(Builder& b);

}  // namespace assay
