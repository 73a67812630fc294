// What a directory holds. The standard library's iterators end the process where memory is out:
// they allocate in functions that are noexcept.
#pragma once

#include <filesystem>
#include <system_error>
#include <vector>

namespace assay {

// Paths of all that lies in a directory, sorted; none where there is no such directory. error: set
// where it cannot be read to its end; the paths are then those that were.
std::vector<std::filesystem::path> paths_in(const std::filesystem::path& directory,
                                            std::error_code& error);
// The same; throws an input error that names the directory where it cannot be read.
std::vector<std::filesystem::path> paths_in(const std::filesystem::path& directory);

// Removes a file, or a directory and what is in it, four levels deep at most; what cannot be
// removed stays. Only system calls: for handlers of signals as well.
void remove_tree(const char* path) noexcept;

}  // namespace assay
