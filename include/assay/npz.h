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
// same bytes whatever `threads` is (0: all cores). Several members are compressed at once.
// Throws: input error (two arrays of one name, a name that is not valid UTF-8, BF16, shape and
// bytes disagree), system error (disk full, directory not writable).
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

  // Size of the inflated member: header and elements.
  std::uint64_t size_of(std::string_view name) const;

  // The member's type and shape; only its header is inflated.
  ArrayForm form_of(std::string_view name) const;

  // The member's elements, row-major (a Fortran-ordered member is transposed). CRC-32 is verified.
  // This and the functions around it throw an input error for a missing name.
  Array read(std::string_view name) const;

  // The same with at most about 32 MiB of memory. The elements of a stored, C-ordered member are a
  // view of the mapped file, valid as long as this object lives; their CRC-32 is not verified,
  // which would read everything once more. Inflated or transposed elements are in memory or, above
  // 32 MiB, in an unnamed file in TMPDIR; throws a system error if that is full.
  LoadedArray load(std::string_view name) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// One array as a .npy file, atomically; errors as write_npz and NpzReader.
void write_npy(const std::filesystem::path& path, const ArrayView& array);
Array read_npy(const std::filesystem::path& path);

}  // namespace assay
