// A GGUF file's metadata as the config.json that the model had before it was converted.
#pragma once

#include "formats/gguf_parts.h"
#include "formats/json_file.h"
#include "models/model_type.h"

namespace assay {

// The type whose files have this general.architecture; otherwise an input error that lists those
// that there are.
const ModelType& gguf_type(const GgufFile& file);

// The fields of that type's config.json (in the layout of transformers 4), with `eos_token_id` a
// list. What a GGUF file does not say is what llama.cpp takes for it. Throws an input error that
// names the key.
OrderedJson gguf_config(const GgufParts& parts);

}  // namespace assay
