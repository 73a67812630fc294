// Llama 2 and 3, and Mistral, which adds a sliding window.
#include "models/config_fields.h"
#include "models/model_type.h"
#include "models/parts/attention.h"
#include "models/parts/mlp.h"

namespace assay {

void llama_layer(Builder& b) {
  b.add(attention(b, b.norm(b.stream(), "input_layernorm", Tap::kInputNorm)), Tap::kAttnResidual);
  b.add(mlp(b, b.norm(b.stream(), "post_attention_layernorm", Tap::kMlpNorm)), Tap::kLayerOutput);
}

namespace {

void read_llama(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, true);
  spec.qkv_bias = spec.o_bias = config.boolean("attention_bias", false);
  spec.mlp_bias = config.boolean("mlp_bias", false);
}

void read_mistral(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, true);
  read_window(config, spec, 4096);
}

}  // namespace

ModelType llama_type() { return {"llama", read_llama, llama_layer}; }
ModelType mistral_type() { return {"mistral", read_mistral, llama_layer}; }

}  // namespace assay
