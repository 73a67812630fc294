// What a reference's manifest.json says about its prompts.
#pragma once

#include <filesystem>

#include "candidate/prompt_pairs.h"

namespace assay {

// directory: of reference_data. The prompts have no candidates yet. Throws input errors: no
// manifest, or fields that are missing or wrong.
Pairing read_manifest(const std::filesystem::path& directory);

}  // namespace assay
