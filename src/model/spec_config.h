// A config.json that has been read, and the rotary embedding in it.
#pragma once

#include "assay/spec.h"
#include "formats/json_file.h"

namespace assay {

// As read_spec_file, of what is equivalent to a config.json.
ModelSpec read_spec_config(const JsonObject& config);

// Fills in rope_parameters, local_rope_parameters and rope.dims of a spec whose sizes and model
// type are there. Throws input errors that name the field.
void read_rope(const JsonObject& config, ModelSpec& spec);

}  // namespace assay
