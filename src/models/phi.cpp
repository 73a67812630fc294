// Phi-3, 3.5, 4 and 4-mini: Llama's layer, whose projections of one input are stored as one matrix.
#include "models/config_fields.h"
#include "models/model_type.h"
#include "models/parts/attention.h"
#include "models/parts/mlp.h"

namespace assay {
namespace {

void read_phi3(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, true);
  read_window(config, spec, 0);
}

void phi3_layer(Builder& b) {
  const ValueId x = b.norm(b.stream(), "input_layernorm", Tap::kInputNorm);
  b.add(attention(b, x, {.fused = "qkv_proj"}), Tap::kAttnResidual);
  const ValueId y = b.norm(b.stream(), "post_attention_layernorm", Tap::kMlpNorm);
  b.add(mlp(b, y, {.fused = "gate_up_proj"}), Tap::kLayerOutput);
}

}  // namespace

ModelType phi3_type() { return {"phi3", read_phi3, phi3_layer}; }

}  // namespace assay
