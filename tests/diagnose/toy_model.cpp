// A type that no checkpoint has, built from existing parts: attention and MLP read one norm's
// result in parallel, and the MLP's output is normalised before it is added.
#include "diagnose/toy_model.h"

#include "models/config_fields.h"
#include "models/model_type.h"
#include "models/parts/attention.h"
#include "models/parts/mlp.h"

namespace assay {
namespace {

void read_toy(const JsonObject& config, ModelSpec& spec) {
  read_heads(config, spec, false);
  spec.qk_norm = true;
  spec.norm.rounded_once = true;
}

void toy_layer(Builder& b) {
  const ValueId x = b.norm(b.stream(), "input_layernorm", Tap::kInputNorm);
  const ValueId a = attention(b, x);
  const ValueId m = mlp(b, x);
  b.add(a, Tap::kAttnResidual);
  b.add(b.norm(m, "post_feedforward_layernorm", Tap::kMlpPostNorm), Tap::kLayerOutput);
}

}  // namespace

void add_toy_type() { add_model_type({.name = "toy", .read = read_toy, .layer = toy_layer}); }

}  // namespace assay
