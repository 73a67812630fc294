// numpy's .npz: a zip archive of .npy members. Written so that numpy cannot tell it from its own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "assay/array.h"

namespace assay {

enum class Compression { kNone, kFast, kSmall };  // stored, deflate level 1, deflate level 6

// Writes the arrays in the given order, each as member "<name>.npy". The file appears under `path`
// only when it is complete and synced; on failure nothing is left behind. The same arrays give the
// same bytes whatever `threads` is (0: all cores). Members are compressed several at once.
// Throws: input error (two arrays of one name, a name that is no UTF-8 text, BF16, shape and bytes
// disagree), system error (disk full, directory not writable).
void write_npz(const std::filesystem::path& path, std::span<const ArrayView> arrays,
               Compression compression = Compression::kFast, int threads = 0);

// Reads an archive, whoever wrote it (numpy, zip tools; stored or deflated; zip64). Every offset,
// length and checksum is checked: a broken file gives an input error that names file and member.
class NpzReader {
 public:
  // Throws an input error for a file that is missing or damaged.
  explicit NpzReader(const std::filesystem::path& path);
  ~NpzReader();
  NpzReader(NpzReader&&) noexcept;
  NpzReader& operator=(NpzReader&&) noexcept;

  // The arrays' names (members without ".npy") in archive order.
  const std::vector<std::string>& names() const noexcept;
  bool contains(std::string_view name) const noexcept;

  // Bytes of the member once inflated: its elements and their header.
  std::uint64_t size_of(std::string_view name) const;

  // The member's type and shape; no more than its header is inflated.
  ArrayForm form_of(std::string_view name) const;

  // The member's elements, row-major (a Fortran-ordered member is transposed). CRC-32 is verified.
  // This and the functions around it throw an input error for a name that is not there.
  Array read(std::string_view name) const;

  // The same without more memory than 32 MiB or so. A stored, C-ordered member's elements are where
  // they lie in the mapped file, as long as this object lives; CRC-32 is not verified of them: that
  // would read everything once more. What had to be inflated or transposed is in memory or, above
  // 32 MiB, in a file without a name in TMPDIR; throws a system error where that has no room.
  LoadedArray load(std::string_view name) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// One array as a .npy file, atomically; errors as write_npz and NpzReader.
void write_npy(const std::filesystem::path& path, const ArrayView& array);
Array read_npy(const std::filesystem::path& path);

}  // namespace assay
