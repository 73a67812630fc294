#include "base/directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "assay/error.h"

namespace assay {
namespace fs = std::filesystem;
namespace {

struct Close {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

bool is_dots(const char* name) {
  return std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0;
}

// A record of getdents64.
struct Entry {
  std::uint64_t inode;
  std::int64_t offset;
  unsigned short length;
  unsigned char type;
  char name[1];
};

void remove_below(int parent, const char* name, int depth) noexcept {
  constexpr int kDeepest = 4;
  constexpr int kRounds = 3;  // another thread may rename a file there during the removal
  if (::unlinkat(parent, name, 0) == 0 || depth == kDeepest) return;
  for (int round = 0; round < kRounds; ++round) {
    const int directory = ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (directory < 0) return;
    alignas(Entry) std::array<char, 4096> buffer;
    for (;;) {
      const long size = ::syscall(SYS_getdents64, directory, buffer.data(), buffer.size());
      if (size <= 0) break;
      for (long at = 0; at < size;) {
        const auto* entry = reinterpret_cast<const Entry*>(buffer.data() + at);
        const char* own = buffer.data() + at + offsetof(Entry, name);
        if (!is_dots(own)) remove_below(directory, own, depth + 1);
        at += entry->length;
      }
    }
    ::close(directory);
    if (::unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno != ENOTEMPTY) return;
  }
}

}  // namespace

std::vector<fs::path> paths_in(const fs::path& directory, std::error_code& error) {
  error.clear();
  std::vector<fs::path> paths;
  const std::unique_ptr<DIR, Close> open(::opendir(directory.c_str()));
  if (!open) {
    if (errno != ENOENT && errno != ENOTDIR) error = {errno, std::generic_category()};
    return paths;
  }
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(open.get());
    if (entry == nullptr) break;
    if (!is_dots(entry->d_name)) paths.push_back(directory / entry->d_name);
  }
  if (errno != 0) error = {errno, std::generic_category()};
  std::ranges::sort(paths);
  return paths;
}

std::vector<fs::path> paths_in(const fs::path& directory) {
  std::error_code error;
  std::vector<fs::path> paths = paths_in(directory, error);
  if (error == std::errc::not_enough_memory) throw std::bad_alloc();
  if (error) {
    throw input_error(directory.string(), "cannot read: " + error.message(),
                      "a readable directory");
  }
  return paths;
}

void remove_tree(const char* path) noexcept { remove_below(AT_FDCWD, path, 0); }

}  // namespace assay
