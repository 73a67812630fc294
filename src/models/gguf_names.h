// The names of tensors in llama.cpp's files (gguf-py: tensor_mapping.py). What only one family has
// stands in its own file.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace assay {

struct GgufName {
  std::string_view gguf;
  std::string_view transformers;
};

// Of tensors outside the layers: "output_norm.weight", "model.norm.weight".
std::optional<std::string_view> name_outside_layers(std::string_view gguf);
// Of a layer's tensors: "attn_q.weight", "self_attn.q_proj.weight"; of the matrices of all experts
// in one, "ffn_up_exps.weight", with "{}" for an expert's number. own: the family's names, which go
// before those that all families share; without ending, or whole names.
std::optional<std::string> name_in_layer(std::string_view gguf, std::span<const GgufName> own);

// The inverse: "model.layers.3.self_attn.q_proj.weight" is "blk.3.attn_q.weight", and that of the
// numbered experts ("model.layers.3.mlp.experts.{}.up_proj.weight") "blk.3.ffn_up_exps.weight".
// None for any other name.
std::optional<std::string> gguf_name_of(std::string_view transformers,
                                        std::span<const GgufName> own);

}  // namespace assay
