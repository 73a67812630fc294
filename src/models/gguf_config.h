// A GGUF file's metadata, as the config.json that the model had before its conversion.
#pragma once

#include "formats/gguf_parts.h"
#include "formats/json_file.h"
#include "models/model_type.h"

namespace assay {

// The type whose files have this general.architecture. Throws an input error that lists the known
// ones.
const ModelType& gguf_type(const GgufFile& file);

// The fields of that type's config.json (in the layout of transformers 4), with `eos_token_id` as a
// list. What a GGUF file does not tell has llama.cpp's default. Throws an input error that names
// the key.
OrderedJson gguf_config(const GgufParts& parts);

}  // namespace assay
