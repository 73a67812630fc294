#pragma once

namespace assay {

// Makes the model type "toy" known, once.
void add_toy_type();

}  // namespace assay
