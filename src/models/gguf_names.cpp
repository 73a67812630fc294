#include "models/gguf_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace assay {
namespace {

constexpr std::array<GgufName, 7> kOutside = {
    {{"token_embd.weight", "model.embed_tokens.weight"},
     {"output_norm.weight", "model.norm.weight"},
     {"output.weight", "lm_head.weight"},
     {"output.bias", "lm_head.bias"},
     {"per_layer_token_embd.weight", "model.embed_tokens_per_layer.weight"},
     {"per_layer_model_proj.weight", "model.per_layer_model_projection.weight"},
     {"per_layer_proj_norm.weight", "model.per_layer_projection_norm.weight"}}};
constexpr std::array<GgufName, 21> kInLayer = {{{"attn_norm", "input_layernorm"},
                                                {"attn_q", "self_attn.q_proj"},
                                                {"attn_k", "self_attn.k_proj"},
                                                {"attn_v", "self_attn.v_proj"},
                                                {"attn_output", "self_attn.o_proj"},
                                                {"attn_q_norm", "self_attn.q_norm"},
                                                {"attn_k_norm", "self_attn.k_norm"},
                                                {"ffn_norm", "post_attention_layernorm"},
                                                {"post_attention_norm", "post_attention_layernorm"},
                                                {"post_ffw_norm", "post_feedforward_layernorm"},
                                                {"ffn_gate", "mlp.gate_proj"},
                                                {"ffn_up", "mlp.up_proj"},
                                                {"ffn_down", "mlp.down_proj"},
                                                {"ffn_gate_inp", "mlp.gate"},
                                                {"ffn_gate_exps", "mlp.experts.{}.gate_proj"},
                                                {"ffn_up_exps", "mlp.experts.{}.up_proj"},
                                                {"ffn_down_exps", "mlp.experts.{}.down_proj"},
                                                {"ffn_gate_inp_shexp", "mlp.shared_expert_gate"},
                                                {"ffn_gate_shexp", "mlp.shared_expert.gate_proj"},
                                                {"ffn_up_shexp", "mlp.shared_expert.up_proj"},
                                                {"ffn_down_shexp", "mlp.shared_expert.down_proj"}}};

using Names = std::span<const GgufName>;

std::optional<std::string_view> find(Names names, std::string_view name,
                                     std::string_view GgufName::*from,
                                     std::string_view GgufName::*to) {
  const auto found = std::ranges::find(names, name, from);
  if (found == names.end()) return std::nullopt;
  return (*found).*to;
}

std::optional<std::string_view> to_transformers(Names names, std::string_view gguf) {
  return find(names, gguf, &GgufName::gguf, &GgufName::transformers);
}

std::optional<std::string_view> to_gguf(Names names, std::string_view transformers) {
  return find(names, transformers, &GgufName::transformers, &GgufName::gguf);
}

}  // namespace

std::optional<std::string_view> name_outside_layers(std::string_view gguf) {
  return to_transformers(kOutside, gguf);
}

std::optional<std::string> name_in_layer(std::string_view gguf, Names own) {
  if (const auto whole = to_transformers(own, gguf)) return std::string(*whole);
  const std::size_t ending = gguf.rfind('.');
  if (ending == gguf.npos) return std::nullopt;
  auto found = to_transformers(own, gguf.substr(0, ending));
  if (!found) found = to_transformers(kInLayer, gguf.substr(0, ending));
  if (!found) return std::nullopt;
  return std::string(*found) + std::string(gguf.substr(ending));
}

std::optional<std::string> gguf_name_of(std::string_view transformers, Names own) {
  if (const auto outside = to_gguf(kOutside, transformers)) return std::string(*outside);
  constexpr std::string_view kLayers = "model.layers.";
  if (!transformers.starts_with(kLayers)) return std::nullopt;
  const std::size_t dot = transformers.find('.', kLayers.size());
  if (dot == transformers.npos) return std::nullopt;
  const std::string_view inner = transformers.substr(dot + 1);
  const std::string block =
      fmt::format("blk.{}.", transformers.substr(kLayers.size(), dot - kLayers.size()));
  if (const auto whole = to_gguf(own, inner)) return block + std::string(*whole);
  const std::size_t ending = inner.rfind('.');
  if (ending == inner.npos) return std::nullopt;
  auto found = to_gguf(own, inner.substr(0, ending));
  if (!found) found = to_gguf(kInLayer, inner.substr(0, ending));
  if (!found) return std::nullopt;
  return block + std::string(*found) + std::string(inner.substr(ending));
}

}  // namespace assay
