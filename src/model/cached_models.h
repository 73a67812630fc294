// Models in Hugging Face's local cache, by the names that they have there.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>

namespace assay {

// The directory of a downloaded model, by its name, "Qwen/Qwen3-0.6B" or only "Qwen3-0.6B": of the
// revision that `main` is. The cache is where huggingface_hub has it: $HF_HUB_CACHE,
// $HUGGINGFACE_HUB_CACHE, $HF_HOME/hub, $XDG_CACHE_HOME/huggingface/hub or
// ~/.cache/huggingface/hub. Nothing is downloaded. None if the cache has no such model; throws an
// input error if several have the name.
std::optional<std::filesystem::path> cached_model(std::string_view name);

}  // namespace assay
