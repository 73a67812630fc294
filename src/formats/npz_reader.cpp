#include <fmt/format.h>
#include <libdeflate.h>

#include <algorithm>
#include <memory>
#include <unordered_map>

#include "assay/error.h"
#include "assay/npz.h"
#include "base/mapped_file.h"
#include "base/text.h"
#include "formats/array_room.h"
#include "formats/inflate.h"
#include "formats/npy.h"
#include "formats/zip.h"

namespace assay {
namespace {

struct FreeDecompressor {
  void operator()(libdeflate_decompressor* d) const { libdeflate_free_decompressor(d); }
};
using Decompressor = std::unique_ptr<libdeflate_decompressor, FreeDecompressor>;

constexpr std::string_view kSuffix = ".npy";
// DEFLATE's best ratio is 1032 to 1. A member that claims a better ratio is invalid.
constexpr std::uint64_t kMaxRatio = 1032;
// When a member is inflated into a file, this many bytes are in memory at a time.
constexpr std::size_t kPiece = std::size_t{8} << 20;

}  // namespace

struct NpzReader::Impl {
  explicit Impl(const std::filesystem::path& path) : file(path) {}

  std::string where(const ZipMember& member) const {
    return fmt::format("{}: member '{}'", file.path().string(), shown(member.name));
  }

  const ZipMember& find(std::string_view name) const {
    const auto found = by_name.find(name);
    if (found == by_name.end()) {
      throw input_error(file.path().string(), fmt::format("no array '{}'", shown(name)),
                        fmt::format("one of its {} arrays", names.size()));
    }
    return members[found->second];
  }

  // The member's bytes as stored in the file.
  std::span<const std::byte> raw(const ZipMember& member) const {
    const std::span<const std::byte> data =
        zip_member_data(file.bytes(), member, file.path().string());
    if (member.method == ZipMethod::kStored && member.size != member.compressed_size) {
      throw input_error(where(member), fmt::format("stored, {} bytes", member.compressed_size),
                        fmt::format("{}", member.size));
    }
    return data;
  }

  // The member's first bytes, at most `most` of them.
  std::vector<std::byte> first_bytes(const ZipMember& member, std::size_t most) const {
    const std::span<const std::byte> data = raw(member);
    std::vector<std::byte> bytes(std::min<std::size_t>(member.size, most));
    if (member.method == ZipMethod::kStored) {
      std::ranges::copy(data.first(bytes.size()), bytes.begin());
    } else if (Inflater(data).read(bytes) < bytes.size()) {
      throw damaged(member);
    }
    return bytes;
  }

  // All bytes of the member, inflated and checked. room: as long as the member is; in_file: in a
  // file's mapping, which alone keeps the contents of pages that are given back.
  void inflate(const ZipMember& member, std::span<std::byte> room, bool in_file) const {
    const std::span<const std::byte> data = raw(member);
    if (member.method == ZipMethod::kStored) {
      std::ranges::copy(data, room.begin());
    } else if (in_file) {
      inflate_in_pieces(member, data, room);
    } else {
      inflate_at_once(member, data, room);
    }
    // The bytes were copied, so the file's own pages may be dropped.
    give_back(data);
    std::uint32_t crc = 0;
    for (std::size_t at = 0; at < room.size(); at += kPiece) {
      const auto piece = room.subspan(at, std::min(kPiece, room.size() - at));
      crc = libdeflate_crc32(crc, piece.data(), piece.size());
      if (in_file) give_back(piece);
    }
    if (crc != member.crc32) {
      throw input_error(where(member), fmt::format("CRC-32 {:08x}", crc),
                        fmt::format("{:08x} (the file is damaged)", member.crc32));
    }
  }

  void inflate_at_once(const ZipMember& member, std::span<const std::byte> data,
                       std::span<std::byte> room) const {
    const Decompressor decompressor(libdeflate_alloc_decompressor());
    if (!decompressor) throw std::bad_alloc();
    std::size_t used = 0;
    const libdeflate_result result = libdeflate_deflate_decompress_ex(
        decompressor.get(), data.data(), data.size(), room.data(), room.size(), &used, nullptr);
    if (result != LIBDEFLATE_SUCCESS || used != data.size()) throw damaged(member);
  }

  // libdeflate needs the whole output in memory.
  void inflate_in_pieces(const ZipMember& member, std::span<const std::byte> data,
                         std::span<std::byte> room) const {
    Inflater inflater(data);
    for (std::size_t at = 0; at < room.size(); at += kPiece) {
      const auto piece = room.subspan(at, std::min(kPiece, room.size() - at));
      if (inflater.read(piece) < piece.size()) throw damaged(member);
      give_back(piece);
    }
    if (!inflater.is_at_end()) throw damaged(member);
  }

  // Checks the member's claimed size before space for it is allocated.
  void check_size(const ZipMember& member) const {
    const std::size_t stored = raw(member).size();
    if (member.method == ZipMethod::kStored || member.size / kMaxRatio <= stored + 1) return;
    throw input_error(where(member),
                      fmt::format("{} bytes said to inflate to {}", stored, member.size),
                      "a size that deflate can reach");
  }

  Error damaged(const ZipMember& member) const {
    return input_error(where(member), "damaged deflate data",
                       fmt::format("data that inflates to {} bytes", member.size));
  }

  MappedFile file;
  std::vector<ZipMember> members;
  std::vector<std::string> names;
  std::unordered_map<std::string_view, std::size_t> by_name;  // of the strings in `names`
};

NpzReader::NpzReader(const std::filesystem::path& path) : impl_(std::make_unique<Impl>(path)) {
  impl_->members = read_zip_directory(impl_->file.bytes(), path.string());
  impl_->names.reserve(impl_->members.size());
  for (const ZipMember& member : impl_->members) {
    std::string& name = impl_->names.emplace_back(member.name);
    if (name.ends_with(kSuffix)) name.resize(name.size() - kSuffix.size());
    if (!impl_->by_name.emplace(name, impl_->names.size() - 1).second) {
      throw input_error(path.string(),
                        fmt::format("duplicate array '{}', with .npy and without", shown(name)),
                        "every name once");
    }
  }
}

NpzReader::~NpzReader() = default;
NpzReader::NpzReader(NpzReader&&) noexcept = default;
NpzReader& NpzReader::operator=(NpzReader&&) noexcept = default;

const std::vector<std::string>& NpzReader::names() const noexcept { return impl_->names; }

bool NpzReader::contains(std::string_view name) const noexcept {
  return impl_->by_name.contains(name);
}

Array NpzReader::read(std::string_view name) const {
  const ZipMember& member = impl_->find(name);
  impl_->check_size(member);
  std::vector<std::byte> bytes(member.size);
  impl_->inflate(member, bytes, false);
  return npy_array(std::string(name), std::move(bytes), impl_->where(member));
}

LoadedArray NpzReader::load(std::string_view name) const {
  const ZipMember& member = impl_->find(name);
  const std::string where = impl_->where(member);
  if (member.method == ZipMethod::kStored) {
    return in_c_order(npy_data(std::string(name), impl_->raw(member), where), where);
  }
  impl_->check_size(member);
  LoadedArray whole;
  const std::span<std::byte> room = make_room(whole, member.size, where);
  impl_->inflate(member, room, whole.view.mapped);
  NpyData data = npy_data(std::string(name), room, where);
  if (data.fortran_order) return in_c_order(std::move(data), where);
  data.view.mapped = whole.view.mapped;
  whole.view = std::move(data.view);
  return whole;
}

ArrayForm NpzReader::form_of(std::string_view name) const {
  const ZipMember& member = impl_->find(name);
  impl_->check_size(member);
  // Tries the length of numpy's own headers first, then the longest header that is allowed.
  constexpr std::size_t kUsual = 1024;
  constexpr std::size_t kLongest = 65536 + 12;
  try {
    return npy_form(impl_->first_bytes(member, kUsual), impl_->where(member));
  } catch (const Error&) {
    if (member.method == ZipMethod::kStored || member.size > kLongest) {
      return npy_form(impl_->first_bytes(member, kLongest), impl_->where(member));
    }
  }
  // As read() does: libdeflate inflates some damaged data that zlib refuses.
  std::vector<std::byte> bytes(member.size);
  impl_->inflate(member, bytes, false);
  return npy_form(bytes, impl_->where(member));
}

std::uint64_t NpzReader::size_of(std::string_view name) const { return impl_->find(name).size; }

}  // namespace assay
