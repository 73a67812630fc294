// The gated delta rule, in place of attention: a state of fixed size instead of keys and values.
#pragma once

#include "models/builder.h"

namespace assay {

struct DeltaTensors {
  // Whether z is stored with queries, keys and values in one matrix, and a with b, key head by key
  // head (Qwen3-Next), or each by itself (Qwen3.5).
  bool packed = false;
};

// The spec's DeltaSpec has the sizes.
ValueId delta_net(Builder& b, ValueId x, const DeltaTensors& tensors = {});

}  // namespace assay
