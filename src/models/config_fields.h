// Fields of a config.json that several families share.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "formats/json_file.h"
#include "models/spec.h"

namespace assay {

// Throws an input error for the field unless `fine`.
void refuse_unless(bool fine, const JsonObject& config, std::string_view field,
                   std::string_view expected);

// Reads head_dim and num_key_value_heads. Older types may lack them: then head_dim is hidden_size /
// num_attention_heads, and there are as many key heads as query heads.
void read_heads(const JsonObject& config, ModelSpec& spec, bool may_be_absent);

// Reads hidden_act, or the type's name for it: silu or gelu_pytorch_tanh.
void read_activation(const JsonObject& config, const char* field, std::string_view fallback,
                     ModelSpec& spec);

// Which of `count` layers `layer_types` says are of `type`; the others must be "full_attention". If
// the field is absent, by_default() decides.
std::vector<bool> layers_of_type(const JsonObject& config, std::int64_t count,
                                 std::string_view type,
                                 const std::function<bool(std::size_t layer)>& by_default);
// Reads which layers slide; if `layer_types` is absent, is_sliding() decides from the type's older
// fields.
void read_layer_types(const JsonObject& config, ModelSpec& spec,
                      const std::function<bool(std::size_t layer)>& is_sliding);

// Reads `sliding_window`, a number or null (no window); fallback if it is absent.
void read_window(const JsonObject& config, ModelSpec& spec, std::int64_t fallback);

// An MoE's sizes: the number of experts, each token's and each expert's size, which the config must
// have under these names. All layers are sparse.
struct MoeFields {
  std::string_view count = "num_experts";
  std::string_view width = "moe_intermediate_size";
  std::string_view chosen = "num_experts_per_tok";
};
void read_experts(const JsonObject& config, const MoeFields& fields, ModelSpec& spec);

// Sets which layers are sparse.
void set_sparse_layers(ModelSpec& spec, const std::function<bool(std::int64_t layer)>& is_sparse);

// The MoE of Qwen2, Qwen3 and Qwen3-Next: of every `decoder_sparse_step` layers one is sparse,
// unless it is among `mlp_only_layers`. normalises: norm_topk_prob, if the config lacks it.
void read_qwen_moe(const JsonObject& config, ModelSpec& spec, bool normalises);

// A number, or 0 for null; fallback if the field is absent.
double number_or_null(const JsonObject& config, std::string_view field, double fallback);

}  // namespace assay
