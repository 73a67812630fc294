// The spec of a checkpoint, from its config.json.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "formats/json_file.h"
#include "models/spec.h"

namespace assay {

// The supported model types: "gemma2", "gemma3_text", "llama", ...
std::vector<std::string> model_types();

// Reads DIR/config.json, or its equivalent in a GGUF file. Throws an input error that names the
// field if one is missing, has the wrong type or an impossible value, or asks for something
// unsupported (another architecture or activation, bidirectional attention). Reads both layouts:
// `rope_theta` and `rope_scaling` at the top (transformers 4) and `rope_parameters` (5).
ModelSpec read_spec(const std::filesystem::path& checkpoint);
// The same for a config.json with any name.
ModelSpec read_spec_file(const std::filesystem::path& config_json);

// The same for the equivalent of a config.json.
ModelSpec read_spec_config(const JsonObject& config);

// The ids that end greedy generation: `eos_token_id` (a number or a list) of
// DIR/generation_config.json, or of config.json if there is no such file or field; those of a GGUF
// file (eos, eot, eom) are in its metadata. May be empty.
std::vector<std::int64_t> read_eos_token_ids(const std::filesystem::path& directory);

}  // namespace assay
