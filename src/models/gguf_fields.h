// A GGUF file's keys, for the families' own fields.
//
// The keys are llama.cpp's (gguf-py, constants.py): "qwen3.block_count" and so on.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "formats/gguf_parts.h"
#include "formats/json_file.h"

namespace assay {

class GgufFields {
 public:
  // Fills in the config's fields that all types share; intermediate_size only if the file has it.
  // rotates_partly: whether only part of a head may be rotated. sizes_by_layer: see GgufType; the
  // config gets the first layer's. Throws input errors that name the key.
  GgufFields(const GgufParts& parts, std::string_view architecture, bool rotates_partly,
             bool sizes_by_layer);

  // The config.json that the model had (in the layout of transformers 4).
  OrderedJson config;

  const GgufParts& parts() const { return parts_; }
  std::int64_t layers() const { return layers_; }
  std::int64_t hidden() const { return hidden_; }
  std::int64_t heads() const { return heads_; }
  std::int64_t head_dim() const { return head_dim_; }

  // For the architecture's own keys, without its prefix.
  std::string key(std::string_view name) const;
  std::string where(std::string_view name) const { return file_.where(key(name)); }
  bool has(std::string_view name) const { return file_.has(key(name)); }
  bool boolean(std::string_view name, bool fallback) const {
    return file_.boolean(key(name), fallback);
  }
  std::int64_t integer(std::string_view name) const { return file_.integer(key(name)); }
  std::int64_t integer(std::string_view name, std::int64_t fallback) const {
    return file_.integer(key(name), fallback);
  }
  // A number for each layer, or one for all of them.
  std::vector<std::int64_t> of_layers(std::string_view name, std::int64_t fallback) const;
  double number(std::string_view name, double fallback) const {
    return has(name) ? file_.number(key(name)) : fallback;
  }

  // Divisors of the rotary frequencies, one per pair of dimensions.
  std::vector<float> rope_factors(std::string_view tensor) const;
  // The same as config.json's layer_types: unless a key says otherwise, every layer whose number is
  // a multiple of `period` is full, the others slide.
  OrderedJson layer_types(std::int64_t period) const;

 private:
  const GgufTensor& tensor(std::string_view name) const;
  void read_sizes(bool rotates_partly, bool sizes_by_layer);
  std::int64_t of_first_layer(std::string_view name, std::int64_t fallback, bool may_differ) const;
  void read_token_ids();
  OrderedJson rope_scaling() const;
  bool has_factor() const { return has("rope.scaling.factor"); }

  const GgufParts& parts_;
  const GgufFile& file_;
  std::string_view architecture_;
  std::int64_t layers_ = 0;
  std::int64_t hidden_ = 0;
  std::int64_t heads_ = 0;
  std::int64_t head_dim_ = 0;
};

// Fills in the fields of Qwen's MoE types. normed: unless the file says otherwise, the experts'
// weights are divided by their sum. Throws input errors that name the key.
void read_qwen_moe_gguf(GgufFields& gguf, bool normed);
// The same of an expert for all tokens.
void read_shared_expert_gguf(GgufFields& gguf);

}  // namespace assay
