// Files that appear under their name only when they are complete.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace assay {

// Writes to a hidden neighbour (".NAME.partial-PID-N"); commit() syncs it and renames it. Without
// commit() nothing is left; a process killed on the spot leaves the neighbour, which the next one
// to write the file removes. A pipe or a device is written to as it is: a file must not take its
// place. Every failure is a system error that names the final path. New files
// have the permissions that the umask leaves.
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
