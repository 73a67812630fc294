// The spec of a checkpoint, from its config.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/json_file.h"
#include "models/spec.h"

namespace assay {

// The model types that are computed: "gemma2", "gemma3_text", "llama", ...
std::vector<std::string> model_types();

// Reads DIR/config.json, or what stands for it in a GGUF file. Throws an input error that names the
// field when one is missing, has the wrong type or an impossible value, or when the config asks for
// something this version does not compute (another architecture or activation, bidirectional
// attention). Both layouts are read: `rope_theta` and `rope_scaling` at the top (transformers 4)
// and `rope_parameters` (5).
ModelSpec read_spec(const std::filesystem::path& checkpoint);
// The same of a config.json of any name.
ModelSpec read_spec_file(const std::filesystem::path& config_json);

// The same of what is equivalent to a config.json.
ModelSpec read_spec_config(const JsonObject& config);

// When greedy generation stops: the ids of DIR/generation_config.json's `eos_token_id` (a number or
// a list), or config.json's where there is no such file or field; those of a GGUF file (eos, eot,
// eom) are in its metadata. May be empty.
std::vector<std::int64_t> read_eos_token_ids(const std::filesystem::path& directory);

}  // namespace assay
