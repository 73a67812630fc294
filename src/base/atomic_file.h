// Files that appear under their name only when they are complete.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace assay {

// Writes to a hidden file in the same directory (".NAME.partial-PID-N"); commit() syncs and renames
// it. Without commit() nothing is left. A process that is killed leaves the hidden file, which the
// next process that writes the same file removes. A pipe or a device is written to directly,
// because a file must not replace it. Every failure is a system error that names the final path.
// New files have the permissions that the umask allows.
class AtomicFile {
 public:
  explicit AtomicFile(const std::filesystem::path& path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  // Bytes written so far.
  std::uint64_t size() const { return flushed_ + buffer_.size(); }
  void commit();

 private:
  void flush();
  void write_out(std::span<const std::byte> bytes);

  std::filesystem::path path_;
  std::filesystem::path partial_;
  int fd_ = -1;
  int slot_ = -1;
  std::uint64_t flushed_ = 0;
  std::vector<std::byte> buffer_;
};

}  // namespace assay
