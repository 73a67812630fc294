// The model types: what a family's file defines for each.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf.h"
#include "formats/json_file.h"
#include "models/builder.h"
#include "models/gguf_names.h"
#include "models/rope_fields.h"

namespace assay {

class GgufFields;

// One of a layer's tensors in llama.cpp's file.
struct GgufStored {
  const GgufFile& head;     // the part with the metadata
  std::string where;        // for errors
  std::string_view stored;  // its name: "attn_q.weight"
  std::string_view name;    // in the checkpoint: "self_attn.q_proj.weight"
  Shape shape;              // in the checkpoint
};

// How llama.cpp's converter changed one tensor.
struct GgufChange {
  // For each row or column of the checkpoint's tensor, the number of that in the file; empty: the
  // same. A vector's elements are its rows.
  std::vector<std::int64_t> rows;
  std::vector<std::int64_t> columns;
  bool exponential = false;  // the stored value is -exp(value)
};

// The same model in llama.cpp's files (gguf-py: constants.py, tensor_mapping.py).
struct GgufType {
  std::string_view architecture = {};  // general.architecture; empty: none of its own
  // Adds the type's own fields to fields.config. Throws input errors that name the key.
  void (*read)(GgufFields& fields) = nullptr;
  // Names of a layer's tensors that other families do not have.
  std::span<const GgufName> names = {};
  bool adds_one_to_norms = false;  // the stored weight is one more
  // One tensor of the checkpoint is stored as these two ("attn_qkv.weight"), whose rows follow each
  // other.
  std::array<std::string_view, 2> split = {};
  // Throws input errors that name the key or the tensor. Null: no tensor is changed but as above.
  GgufChange (*change)(const GgufStored& tensor) = nullptr;
  bool sizes_by_layer = false;  // key heads and the MLP's width may differ from layer to layer
};

struct ModelType {
  std::string_view name;  // config.json's model_type
  // Reads the type's fields beyond sizes and rotary embedding, and sets what is the same for all
  // its models. Throws input errors that name the field.
  void (*read)(const JsonObject& config, ModelSpec& spec) = nullptr;
  void (*layer)(Builder& b) = nullptr;
  // The MLP's width; of a type whose MLPs are all MoEs, an expert's.
  const char* width_field = "intermediate_size";
  const char* activation_field = "hidden_act";
  const char* activation = "silu";  // unless the config says otherwise
  bool ties = false;                // ties embedding and lm_head, unless the config says otherwise
  RopeFields rope = {};
  // Replaces the reader of `rope`; null: it does not.
  void (*read_rope)(const JsonObject& config, ModelSpec& spec) = nullptr;
  GgufType gguf = {};
};

// Sorted by name, followed by the added ones.
std::span<const ModelType> all_model_types();
// Adds a type. Call it before anything is read. Not thread-safe.
void add_model_type(const ModelType& type);

// Llama's layer, with the names that most families share: norms before both blocks.
void llama_layer(Builder& b);

// The names of Mixtral's experts in its GGUF files.
std::span<const GgufName> mixtral_gguf_names();

}  // namespace assay
