// The zip records of a .npz or .pt file (PKWARE APPNOTE 6.3). They are written with the field
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
  bool utf8 = false;                // the name is marked as UTF-8; ignored when writing
};

// Bytes before the member's data.
std::string zip_local_header(const ZipMember& member);

// Central directory and end records, for members that end at `offset`.
std::string zip_directory(std::span<const ZipMember> members, std::uint64_t offset);

// The members of an archive in directory order. Every offset and length is checked against the
// file. Refuses members that overlap or are encrypted, and methods other than stored and deflated.
// `where` names the file in errors.
std::vector<ZipMember> read_zip_directory(std::span<const std::byte> file, std::string_view where);

// The member's data in place in the file. Checks the local header against the directory.
std::span<const std::byte> zip_member_data(std::span<const std::byte> file, const ZipMember& member,
                                           std::string_view where);

}  // namespace assay
