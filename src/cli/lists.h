// What --list prints: the names that options take.
#pragma once

#include <filesystem>

namespace assay {

// The published models of --like. Each returns the exit code.
int list_models(bool json);
// The engines of --map.
int list_maps(bool json);
// The taps of a checkpoint's model, and the shapes of their arrays.
int list_taps(const std::filesystem::path& model, bool json);

}  // namespace assay
