// A file that is read in pieces, each of them once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace assay {

// Advises the kernel to drop these bytes of an open file from the page cache. Pages that other
// processes have mapped or are reading stay.
void forget_cached(int descriptor, std::uint64_t offset, std::uint64_t size);

class FileReader {
 public:
  // Throws an input error when the file cannot be opened.
  explicit FileReader(std::filesystem::path path);
  ~FileReader();
  FileReader(FileReader&& other) noexcept;
  FileReader& operator=(FileReader&& other) noexcept;

  // Fills `to` from `offset` on. Throws an input error when the file ends too early or cannot be
  // read.
  void read(std::uint64_t offset, std::span<std::byte> to) const;
  // See forget_cached.
  void let_go(std::uint64_t offset, std::uint64_t size) const;

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

}  // namespace assay
