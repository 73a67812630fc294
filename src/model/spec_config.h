// A config.json that has been read.
#pragma once

#include "assay/spec.h"
#include "formats/json_file.h"

namespace assay {

// As read_spec_file, of what is equivalent to a config.json.
ModelSpec read_spec_config(const JsonObject& config);

}  // namespace assay
