// Gemma 2 and the text models of Gemma 3: norms of 1 + weight around both blocks, an embedding
// times sqrt(hidden_size), GELU, layers that slide. Gemma 2 caps scores and logits; Gemma 3
// normalises query and key heads and rotates its sliding layers by another base.
#include <cmath>
#include <cstddef>

#include "models/config_fields.h"
#include "models/model_type.h"
#include "models/parts/attention.h"
#include "models/parts/mlp.h"

namespace assay {
namespace {

void read_gemma(const JsonObject& config, ModelSpec& spec) {
  const bool second = spec.model_type == "gemma2";
  read_heads(config, spec, false);
  spec.qkv_bias = spec.o_bias = config.boolean("attention_bias", false);
  spec.qk_norm = !second;
  spec.embedding.scale = std::sqrt(static_cast<double>(spec.hidden_size));
  spec.norms = Norms::kAround;
  spec.norm.one_plus = spec.norm.rounded_once = true;
  spec.attention.scale = 1 / std::sqrt(config.positive_number("query_pre_attn_scalar", 256));
  // Gemma 3 has the fields of both and applies one (transformers 5.23).
  if (second) spec.attention.softcap = number_or_null(config, "attn_logit_softcapping", 50);
  spec.head.softcap = number_or_null(config, "final_logit_softcapping", second ? 30 : 0);
  refuse_unless(!config.boolean("use_bidirectional_attention", false), config,
                "use_bidirectional_attention", "false");
  read_window(config, spec, 4096);
  const auto pattern =
      static_cast<std::size_t>(second ? 2 : config.positive_integer("sliding_window_pattern", 6));
  read_layer_types(config, spec, [&](std::size_t l) { return (l + 1) % pattern != 0; });
}

void gemma_layer(Builder& b) {
  const ValueId a = attention(b, b.norm(b.stream(), "input_layernorm", Tap::kInputNorm));
  b.add(b.norm(a, "post_attention_layernorm", Tap::kAttnPostNorm), Tap::kAttnResidual);
  const ValueId m = mlp(b, b.norm(b.stream(), "pre_feedforward_layernorm", Tap::kMlpNorm));
  b.add(b.norm(m, "post_feedforward_layernorm", Tap::kMlpPostNorm), Tap::kLayerOutput);
}

}  // namespace

ModelType gemma2_type() {
  return {"gemma2", read_gemma, gemma_layer, "hidden_activation", "gelu_pytorch_tanh", true};
}
ModelType gemma3_text_type() {
  return {"gemma3_text", read_gemma, gemma_layer, "hidden_activation", "gelu_pytorch_tanh", true};
}

}  // namespace assay
