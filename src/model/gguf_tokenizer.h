// A GGUF file's vocabulary, as the tokenizer.json that the model had before its conversion.
#pragma once

#include <string>

#include "formats/gguf.h"

namespace assay {

// The text of the tokenizer.json; gguf_tokenizer.cpp describes what is not in the file and depends
// on the kind of vocabulary. Throws an input error that names the key.
std::string gguf_tokenizer_json(const GgufFile& file);

}  // namespace assay
