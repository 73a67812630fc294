// The right model with something wrong about it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "assay/spec.h"
#include "diagnose/ops/operations.h"
#include "diagnose/weight_change.h"
#include "model/held_values.h"

namespace assay {

struct Hypothesis {
  ModelSpec spec;  // the model's own, but for what is wrong
  // Of each layer, where it is not `spec` in all of them.
  std::vector<ModelSpec> layer_specs = {};
  std::vector<WeightChange> weights = {};  // of the layers
  LayerOrder order = {};
  std::optional<WeightChange> embedding = {};  // of embed_tokens and the head tied to it
  std::optional<WeightChange> head = {};
  bool head_is_embedding = false;  // the head's own weights are not read
  std::vector<HeldValues> held = {};
  // The final norm's weight is that of this part of this layer.
  std::optional<std::pair<std::int64_t, Part>> final_norm = {};
  Operations operations = {};  // what no model has
  bool operator==(const Hypothesis&) const = default;

  const ModelSpec& spec_of(std::int64_t layer) const {
    const auto l = static_cast<std::size_t>(layer);
    return l < layer_specs.size() ? layer_specs[l] : spec;
  }
};

using Change = std::function<void(Hypothesis&)>;

// Makes the change in these layers alone (empty: in the whole model). What lies outside of the
// layers and what concerns their order stays as it was.
void apply_in(std::span<const std::int64_t> layers, const Change& change, Hypothesis& hypothesis);

}  // namespace assay
