// The rotary embedding in a config.json.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "formats/json_file.h"
#include "models/spec.h"

namespace assay {

// What is a type's own in how its config speaks of it.
struct RopeFields {
  // Names that longrope has besides; where there are any, the type knows no other stretching.
  std::vector<std::string_view> only_longrope = {};
  // Where set, the original length is read beside rope_scaling alone, and is this where it is
  // absent.
  std::optional<double> original_length = {};
  // A part of each head may be rotated; partial_rotary_factor is read without stretching too.
  bool rotates_partly = false;
};

// Fills in rope_parameters and rope.dims of a spec whose sizes and model type are there. Throws
// input errors that name the field.
void read_rope(const JsonObject& config, const RopeFields& fields, ModelSpec& spec);

// The stretching that `rope` speaks of, for a type that has nothing of its own. `outer` is the
// object that holds `rope`, where there is one for each type of layer: transformers looks there for
// `truncate`.
void read_rope_scaling(const JsonObject& config, const JsonObject& rope, const JsonObject& outer,
                       const ModelSpec& spec, RopeParameters& to);

}  // namespace assay
