// A checkpoint in either form: a HuggingFace directory, or a GGUF file (or a directory with one).
#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "chat/chat_template.h"
#include "formats/json_file.h"
#include "formats/safetensors.h"
#include "model/gguf_tensors.h"
#include "tokenizer/tokenizer.h"

namespace assay {

// The fields of config.json, or their equivalents in a GGUF file's metadata. `file`, if given,
// becomes the name for messages.
OrderedJson read_config(const std::filesystem::path& checkpoint, std::string* file = nullptr);

// All tensors, named as in HuggingFace's causal model.
Weights open_weights(const std::filesystem::path& checkpoint, DequantiseNow now,
                     const OnWeights& on_progress = {});

// The file with the tokenizer: tokenizer.json, or the GGUF file.
std::filesystem::path tokenizer_file(const std::filesystem::path& checkpoint);
bool has_tokenizer(const std::filesystem::path& checkpoint);
Tokenizer load_tokenizer(const std::filesystem::path& checkpoint);
// None if there is no readable one: for texts that only help the reader.
std::optional<Tokenizer> try_load_tokenizer(const std::filesystem::path& checkpoint);

// ChatTemplate::load, or the templates and special tokens of the GGUF file.
ChatTemplate load_chat_template(const std::filesystem::path& checkpoint);

}  // namespace assay
