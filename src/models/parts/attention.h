// Grouped-query attention with rotary embedding.
#pragma once

#include <string_view>

#include "models/builder.h"

namespace assay {

struct AttentionTensors {
  std::string_view fused;  // one matrix for queries, keys and values; empty: q_proj, k_proj, v_proj
};

// The spec tells whether queries and keys are normalised (each head, or all together), which
// projections have a bias, whether queries grow with their position, whether heads have sinks,
// whether the result is gated, how wide this layer's window is, which heads it has, and whether it
// reads the keys and values of an earlier one.
ValueId attention(Builder& b, ValueId x, const AttentionTensors& tensors = {});

}  // namespace assay
