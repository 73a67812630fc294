// Llama's layer, which most families share: a norm before attention, or the delta rule in its
// place, and one before the MLP.
#pragma once

#include "models/parts/attention.h"
#include "models/parts/delta_net.h"
#include "models/parts/mlp.h"

namespace assay {

void pre_norm_layer(Builder& b, const AttentionTensors& attention, const MlpTensors& mlp,
                    const DeltaTensors& delta = {});

}  // namespace assay
