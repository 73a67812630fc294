#include "models/parts/pre_norm.h"

namespace assay {

void pre_norm_layer(Builder& b, const AttentionTensors& of_attention, const MlpTensors& of_mlp,
                    const DeltaTensors& of_delta) {
  const ValueId x = b.norm(b.stream(), "input_layernorm", Tap::kInputNorm);
  const bool linear = b.spec().is_linear(b.layer());
  b.add(linear ? delta_net(b, x, of_delta) : attention(b, x, of_attention), Tap::kAttnResidual);
  const ValueId y = b.norm(b.stream(), "post_attention_layernorm", Tap::kMlpNorm);
  b.add(mlp(b, y, of_mlp), Tap::kLayerOutput);
}

}  // namespace assay
