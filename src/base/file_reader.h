// A file that is read in pieces, each once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace assay {

// The page cache need not keep these bytes of an open file. Only a wish: what others have mapped,
// or are just reading, stays.
void forget_cached(int descriptor, std::uint64_t offset, std::uint64_t size);

class FileReader {
 public:
  // Throws an input error when the file cannot be opened.
  explicit FileReader(std::filesystem::path path);
  ~FileReader();
  FileReader(FileReader&& other) noexcept;
  FileReader& operator=(FileReader&& other) noexcept;

  // Fills `to` from `offset` on. Throws an input error when the file ends before, or fails.
  void read(std::uint64_t offset, std::span<std::byte> to) const;
  // See forget_cached.
  void let_go(std::uint64_t offset, std::uint64_t size) const;

 private:
  std::filesystem::path path_;
  int fd_ = -1;
};

}  // namespace assay
