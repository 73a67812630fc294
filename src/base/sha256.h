// SHA-256 as lower-case hex.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace assay {

std::string sha256_hex(std::span<const std::byte> bytes);

// The SHA-256 of a whole file. Throws an input error when it cannot be read. let_go: advise the
// page cache not to keep what was read.
std::string sha256_file(const std::filesystem::path& path, bool let_go = false);

}  // namespace assay
