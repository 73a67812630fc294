// Llama's layer, which most families share: a norm before attention and one before the MLP.
#pragma once

#include "models/parts/attention.h"
#include "models/parts/mlp.h"

namespace assay {

void pre_norm_layer(Builder& b, const AttentionTensors& attention, const MlpTensors& mlp);

}  // namespace assay
