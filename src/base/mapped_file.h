// A file mapped read-only into memory. Whoever cuts it short meanwhile ends this process (SIGBUS;
// see base/partial_paths.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>

namespace assay {

// False when nothing has that name. True as well where looking fails (no permission, a loop of
// links): whoever opens it then gets the reason.
bool is_there(const std::filesystem::path& path);

// Whether a name from outside leads to a file below the directory that it is relative to: neither
// absolute nor with "..", not empty, without NUL. Links that stand there are followed.
bool is_path_below(std::string_view name);

// Gives back the memory of whole pages within a mapped file's bytes; they stay in the page cache
// and come again when they are read.
void give_back(std::span<const std::byte> mapped);

// Only what is touched of a mapped file's bytes will be read, without its surroundings.
void expect_random_access(std::span<const std::byte> mapped);

// The path of the file that is mapped there; null for none. Safe in a handler of signals. Of more
// than 4096 files at once not all are known.
const char* mapped_file_at(const void* address);

// How a file was when it was looked at: size, times of change (mtime and ctime, in ns), device and
// inode.
struct FileState {
  std::uint64_t size = 0;
  std::int64_t mtime = 0;
  std::int64_t ctime = 0;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  bool operator==(const FileState&) const = default;
};
// None where there is no regular file.
std::optional<FileState> state_of(const std::filesystem::path& file);

// A descriptor of a regular file, for reading. Throws an input error of a file that is missing,
// unreadable or of another kind: a pipe would wait for its other end.
int open_regular(const std::filesystem::path& path);

class MappedFile {
 public:
  // Throws an input error when the file is missing, unreadable or no regular file.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  const std::filesystem::path& path() const noexcept { return path_; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  int slot_ = -1;  // where mapped_file_at finds it
};

}  // namespace assay
