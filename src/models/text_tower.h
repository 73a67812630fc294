// Language models inside multimodal checkpoints: their config is `text_config`, and their tensors
// have a prefix. What is for images is not read.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "formats/json_file.h"

namespace assay {

// The model types of multimodal configs whose language model can be run: "gemma3", ...
std::vector<std::string> tower_types();

// The config of the language model, with a model type of all_model_types(); the config itself if it
// is not one of a multimodal type. Throws input errors that name the field.
JsonObject language_config(const JsonObject& config);

// Whether checkpoints of the type store fused experts with their last two axes exchanged.
bool exchanges_experts(std::string_view type);

// The name of the language model's tensor as a causal model has it: without `language_model.`.
std::string language_name(std::string_view stored);
// Whether a tensor that the language model does not use belongs to such a checkpoint all the same:
// it is for images, or for the prediction of further tokens.
bool is_beside_language(std::string_view stored);
// The name of a causal model's tensor in a multimodal checkpoint.
std::string tower_name(std::string_view causal);

}  // namespace assay
