// What a glob that matches no tap was probably meant to be.
#pragma once

#include <string>
#include <string_view>

#include "models/spec.h"

namespace assay {

// "; did you mean 'layer_03_q_proj'?", or what the model has in its place, to be put after an
// error's `expected`; empty when no tap is near.
std::string tap_suggestion(std::string_view glob, const ModelSpec& spec);

}  // namespace assay
