// Remembers the SHA-256 of files in the user's cache directory.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>

namespace assay {

// A file is identified by its absolute path, size, times of change (mtime and ctime, in ns) and
// inode. A file that changed within the last two seconds is not remembered, because it may change
// again without a new time. The memory is a text file that is always replaced as a whole, so
// several processes may use it at once. A damaged memory is started again; one that cannot be
// written is not used. Thread-safe.
class HashMemory {
 public:
  // The memory in $XDG_CACHE_HOME/assay, or in ~/.cache/assay. Without both, nothing is remembered.
  static HashMemory& of_user();

  // now: nanoseconds since 1970, for tests.
  explicit HashMemory(std::filesystem::path memory, std::function<std::int64_t()> now = {});

  // The remembered hash of the file, or else the result of compute(), which is then remembered.
  std::string sha256(const std::filesystem::path& file,
                     const std::function<std::string()>& compute);
  // From now on every file is hashed again, and its new hash is remembered.
  void pass_over() { passed_over_ = true; }

 private:
  struct Entry {
    std::int64_t used = 0;  // when it was hashed; the oldest entries are dropped
    std::string sha256;
  };
  using Entries = std::map<std::string, Entry>;  // by the identity of a file

  Entries read() const;
  void remember(const std::string& key, const std::string& sha256, std::int64_t now) const;

  std::filesystem::path memory_;
  std::function<std::int64_t()> now_;
  std::mutex mutex_;
  std::atomic<bool> passed_over_ = false;
};

// The SHA-256 of a whole file, from the user's memory if it is there. Throws an input error when
// the file cannot be read.
std::string remembered_sha256(const std::filesystem::path& file);

}  // namespace assay
