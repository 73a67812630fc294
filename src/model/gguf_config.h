// A GGUF file's metadata as the config.json that the model had before it was converted.
#pragma once

#include <string_view>

#include "formats/gguf_parts.h"
#include "formats/json_file.h"

namespace assay {

// general.architecture, one of those that this version knows; otherwise an input error that lists
// them.
std::string_view gguf_architecture(const GgufFile& file);

// The fields of that architecture's config.json (in the layout of transformers 4), with
// `eos_token_id` a list. What a GGUF file does not say is what llama.cpp takes for it. Throws an
// input error that names the key.
OrderedJson gguf_config(const GgufParts& parts);

}  // namespace assay
