// Lists and removes directories. The standard library's iterators end the process when memory runs
// out, because they allocate in noexcept functions.
#pragma once

#include <filesystem>
#include <system_error>
#include <vector>

namespace assay {

// The sorted paths of a directory's entries; empty when there is no such directory. error: set when
// the directory cannot be read completely; the paths are then those that were read.
std::vector<std::filesystem::path> paths_in(const std::filesystem::path& directory,
                                            std::error_code& error);
// The same paths; throws an input error that names the directory when it cannot be read.
std::vector<std::filesystem::path> paths_in(const std::filesystem::path& directory);

// Removes a file, or a directory and its contents, at most four levels deep. What cannot be removed
// stays. Uses only system calls, so signal handlers may call it.
void remove_tree(const char* path) noexcept;

}  // namespace assay
