// SHA-256 of files that were hashed before, in the user's cache directory.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>

namespace assay {

// A file is known by its absolute path, size, times of change (mtime and ctime, in ns) and inode.
// One that changed within the last two seconds is not remembered: it may change again unseen. The
// memory is a file of lines, replaced as a whole, so that several processes may use it at once. A
// damaged one is begun anew, one that cannot be written is done without. Thread-safe.
class HashMemory {
 public:
  // In $XDG_CACHE_HOME/assay, or ~/.cache/assay. Nothing is remembered where there is neither.
  static HashMemory& of_user();

  // now: nanoseconds since 1970, for tests.
  explicit HashMemory(std::filesystem::path memory, std::function<std::int64_t()> now = {});

  // What is remembered of the file, or what compute() says, which is then remembered.
  std::string sha256(const std::filesystem::path& file,
                     const std::function<std::string()>& compute);
  // From now on every file is hashed anew (and that remembered).
  void pass_over() { passed_over_ = true; }

 private:
  struct Entry {
    std::int64_t used = 0;  // when it was hashed: the oldest are dropped
    std::string sha256;
  };
  using Entries = std::map<std::string, Entry>;  // by what a file is known by

  Entries read() const;
  void remember(const std::string& key, const std::string& sha256, std::int64_t now) const;

  std::filesystem::path memory_;
  std::function<std::int64_t()> now_;
  std::mutex mutex_;
  std::atomic<bool> passed_over_ = false;
};

// Of a whole file, by the user's memory. Throws an input error when it cannot be read.
std::string remembered_sha256(const std::filesystem::path& file);

}  // namespace assay
