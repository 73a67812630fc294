// A GGUF file's vocabulary as the tokenizer.json that the model had before it was converted.
#pragma once

#include <string>

#include "formats/gguf.h"

namespace assay {

// The text of the tokenizer.json; see gguf_tokenizer.cpp for what is not in the file and is taken
// from the kind of vocabulary. Throws an input error that names the key.
std::string gguf_tokenizer_json(const GgufFile& file);

}  // namespace assay
