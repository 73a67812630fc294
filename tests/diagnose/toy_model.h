#pragma once

namespace assay {

// Registers the model type "toy", once.
void add_toy_type();

}  // namespace assay
