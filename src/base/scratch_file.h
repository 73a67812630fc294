// Room on a disk for what would be too much for memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace assay {

// Bytes in a file without a name, mapped for reading and writing: nothing is left of it however the
// program ends. It lies in TMPDIR, otherwise in /var/tmp, otherwise in /tmp.
class ScratchFile {
 public:
  // bytes: at least 1. The disk's space is taken here, so that no later write can fail. Throws a
  // system error where no directory has it; what: what it is for, such as the array's name.
  ScratchFile(std::uint64_t bytes, std::string_view what);
  ~ScratchFile();
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  // Zeros at first. Of what is written and not needed soon, give_back() (base/mapped_file.h)
  // returns the memory; the file keeps the contents.
  std::span<std::byte> bytes() const noexcept { return {data_, size_}; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace assay
