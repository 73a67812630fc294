// The right model with something wrong about it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "assay/spec.h"
#include "diagnose/weight_change.h"
#include "model/held_values.h"

namespace assay {

struct Hypothesis {
  ModelSpec spec;                          // the model's own, but for what is wrong
  std::vector<WeightChange> weights = {};  // of the layers
  LayerOrder order = {};
  std::optional<WeightChange> embedding = {};  // of embed_tokens and the head tied to it
  std::optional<WeightChange> head = {};
  bool head_is_embedding = false;  // the head's own weights are not read
  std::vector<HeldValues> held = {};
  bool operator==(const Hypothesis&) const = default;
};

}  // namespace assay
