// A file mapped read-only into memory. If the file is truncated meanwhile, this process ends
// (SIGBUS; see base/partial_paths.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>

namespace assay {

// False when nothing has that name. True when that cannot be determined (no permission, a loop of
// links): opening the file then tells the reason.
bool is_there(const std::filesystem::path& path);

// Whether a name from outside stays below the directory that it is relative to: not absolute,
// without
// "..", not empty, without NUL. Links in that directory are followed.
bool is_path_below(std::string_view name);

// Releases the memory of whole pages within a mapped file's bytes. They stay in the page cache and
// are mapped again when they are read.
void give_back(std::span<const std::byte> mapped);

// Turns off read-ahead for a mapped file's bytes: only pages that are accessed are read.
void expect_random_access(std::span<const std::byte> mapped);

// The path of the file that is mapped at this address; null if there is none. Safe in a signal
// handler. At most 4096 mapped files are known at once.
const char* mapped_file_at(const void* address);

// The state of a file when it was examined: size, times of change (mtime and ctime, in ns), device
// and inode.
struct FileState {
  std::uint64_t size = 0;
  std::int64_t mtime = 0;
  std::int64_t ctime = 0;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  bool operator==(const FileState&) const = default;
};
// None if the path is not a regular file.
std::optional<FileState> state_of(const std::filesystem::path& file);

// Opens a regular file for reading. Throws an input error when the file is missing, unreadable or
// not a regular file: a pipe would wait for its other end.
int open_regular(const std::filesystem::path& path);

class MappedFile {
 public:
  // Throws an input error when the file is missing, unreadable or not a regular file.
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
