// How much memory this process may use.
#pragma once

#include <cstdint>
#include <filesystem>

namespace assay {

// The machine's memory, or the least limit of the cgroups (v1 or v2) that this process is in.
// root: where /proc and /sys are, for tests.
std::uint64_t usable_memory(const std::filesystem::path& root = "/");

}  // namespace assay
