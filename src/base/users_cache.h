// Where the user's programs keep what they can make again.
#pragma once

#include <filesystem>

namespace assay {

// Assay's directory in $XDG_CACHE_HOME, or in ~/.cache where that is not set. It need not exist.
// Empty when neither XDG_CACHE_HOME nor HOME is an absolute path.
std::filesystem::path users_cache();

}  // namespace assay
