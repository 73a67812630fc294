// Space on disk for data that is too large for memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace assay {

// Bytes in an unnamed file, mapped for reading and writing. Nothing is left of the file however the
// program ends. It is created in TMPDIR, otherwise in /var/tmp, otherwise in /tmp.
class ScratchFile {
 public:
  // bytes: at least 1. The disk space is allocated here, so that no later write can fail. Throws a
  // system error when no directory has enough space. what: what the space is for, such as the
  // array's name.
  ScratchFile(std::uint64_t bytes, std::string_view what);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  // The bytes are zero at first. give_back() (base/mapped_file.h) releases the memory of bytes that
  // are not needed soon; the file keeps their contents.
  std::span<std::byte> bytes() const noexcept { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace assay
