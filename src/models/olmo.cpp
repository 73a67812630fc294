// OLMo 2: norms after the blocks, none before them; queries and keys normalised over all heads
// together.
#include "assay/error.h"
#include "models/config_fields.h"
#include "models/gguf_fields.h"
#include "models/model_type.h"
#include "models/parts/attention.h"
#include "models/parts/mlp.h"

namespace assay {
namespace {

void read_olmo2(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, true);
  spec.qkv_bias = spec.o_bias = config.boolean("attention_bias", false);
  spec.qk_norm = true;
  spec.qk_norms.full_width = true;
  spec.rope.rounded_once = true;
  spec.norm.rounded_once = true;
}

void olmo2_layer(Builder& b) {
  const ValueId a = attention(b, b.stream());
  b.add(b.norm(a, "post_attention_layernorm", Tap::kAttnPostNorm), Tap::kAttnResidual);
  const ValueId m = mlp(b, b.stream());
  b.add(b.norm(m, "post_feedforward_layernorm", Tap::kMlpPostNorm), Tap::kLayerOutput);
}

// OLMo 3's files have this architecture too, and a window.
void read_olmo2_gguf(GgufFields& gguf) {
  const std::int64_t window = gguf.integer("attention.sliding_window", 0);
  if (window == 0) return;
  throw input_error(gguf.where("attention.sliding_window"), std::to_string(window),
                    "none (OLMo 3 is not supported)");
}

}  // namespace

ModelType olmo2_type() {
  return {.name = "olmo2",
          .read = read_olmo2,
          .layer = olmo2_layer,
          .gguf = {.architecture = "olmo2", .read = read_olmo2_gguf}};
}

}  // namespace assay
