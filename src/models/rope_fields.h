// Reads the rotary embedding from a config.json.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "formats/json_file.h"
#include "models/spec.h"

namespace assay {

// How a type's config differs from the others'.
struct RopeFields {
  // Other names of longrope; if there are any, the type supports no other scaling.
  std::vector<std::string_view> only_longrope = {};
  // If set, the original length is read only outside rope_scaling, with this default.
  std::optional<double> original_length = {};
  // Part of a head may be rotated; partial_rotary_factor is read even without scaling.
  bool rotates_partly = false;
  double part = 1;                   // partial_rotary_factor, unless the config says otherwise
  std::string_view dims_field = {};  // the number of rotated elements instead of the factor
  double theta = 10000;              // rope_theta, unless the config says otherwise
};

// Sets rope_parameters and rope.dims of a spec that has its sizes and model type. Throws input
// errors that name the field.
void read_rope(const JsonObject& config, const RopeFields& fields, ModelSpec& spec);

// Whether the config has rope_scaling or rope_parameters that are not empty.
bool gives_rope(const JsonObject& config);
// The object that counts among the config's rope_scaling and rope_parameters, perhaps empty.
JsonObject rope_object(const JsonObject& config);

// The scaling in `rope`, for a type without special rules. `outer` is the object that contains
// `rope`, if there is one per type of layer: transformers looks there for `truncate`.
void read_rope_scaling(const JsonObject& config, const JsonObject& rope, const JsonObject& outer,
                       const ModelSpec& spec, RopeParameters& to);

}  // namespace assay
