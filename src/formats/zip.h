// The zip records that a .npz or .pt consists of (PKWARE APPNOTE 6.3); written with the field
// values that Python's zipfile writes for numpy: zip64 sizes in every local header, date
// 1980-01-01, made on Unix.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace assay {

enum class ZipMethod : std::uint16_t { kStored = 0, kDeflated = 8 };

struct ZipMember {
  std::string name;
  ZipMethod method = ZipMethod::kStored;
  std::uint32_t crc32 = 0;
  std::uint64_t compressed_size = 0;
  std::uint64_t size = 0;
  std::uint64_t header_offset = 0;  // of the local header
  bool utf8 = false;                // the name is marked as UTF-8; of no meaning to writers
};

// Bytes before the member's data.
std::string zip_local_header(const ZipMember& member);

// Central directory and end records, for members whose last byte lies just before `offset`.
std::string zip_directory(std::span<const ZipMember> members, std::uint64_t offset);

// Finds the members of an archive in directory order. Every offset and length is checked against
// the file, members may not overlap, encryption and methods other than stored and deflated are
// refused. `where` names the file in errors.
std::vector<ZipMember> read_zip_directory(std::span<const std::byte> file, std::string_view where);

// The member's data as it lies in the file; checks the local header against the directory.
std::span<const std::byte> zip_member_data(std::span<const std::byte> file, const ZipMember& member,
                                           std::string_view where);

}  // namespace assay
