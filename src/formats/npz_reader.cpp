#include <fmt/format.h>
#include <libdeflate.h>

#include <algorithm>
#include <memory>
#include <set>

#include "assay/error.h"
#include "assay/npz.h"
#include "base/mapped_file.h"
#include "base/text.h"
#include "formats/npy.h"
#include "formats/zip.h"

namespace assay {
namespace {

struct FreeDecompressor {
  void operator()(libdeflate_decompressor* d) const { libdeflate_free_decompressor(d); }
};
using Decompressor = std::unique_ptr<libdeflate_decompressor, FreeDecompressor>;

constexpr std::string_view kSuffix = ".npy";
// DEFLATE's best ratio is 1032 to 1: a member that claims more lies.
constexpr std::uint64_t kMaxRatio = 1032;

}  // namespace

struct NpzReader::Impl {
  explicit Impl(const std::filesystem::path& path) : file(path) {}

  std::string where(const ZipMember& member) const {
    return fmt::format("{}: member '{}'", file.path().string(), shown(member.name));
  }

  const ZipMember& find(std::string_view name) const {
    const auto found = std::ranges::find(names, name);
    if (found == names.end()) {
      throw input_error(file.path().string(), fmt::format("no array '{}'", shown(name)),
                        fmt::format("one of its {} arrays", names.size()));
    }
    return members[static_cast<std::size_t>(found - names.begin())];
  }

  // The member's bytes as they lie in the file.
  std::span<const std::byte> raw(const ZipMember& member) const {
    const std::span<const std::byte> data =
        zip_member_data(file.bytes(), member, file.path().string());
    if (member.method == ZipMethod::kStored && member.size != member.compressed_size) {
      throw input_error(where(member), fmt::format("stored, {} bytes", member.compressed_size),
                        fmt::format("{}", member.size));
    }
    return data;
  }

  // Up to so many of the member's first bytes. libdeflate stops where the room ends, before a match
  // or a stored block that would not fit: the rest is zeros, which no header has.
  std::vector<std::byte> inflate_header(const ZipMember& member, std::size_t most) const {
    const std::span<const std::byte> data = raw(member);
    std::vector<std::byte> bytes(std::min<std::size_t>(member.size, most));
    if (member.method == ZipMethod::kStored) {
      bytes.assign(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(bytes.size()));
      return bytes;
    }
    const Decompressor decompressor(libdeflate_alloc_decompressor());
    if (!decompressor) throw std::bad_alloc();
    std::size_t used = 0;
    std::size_t made = 0;
    const libdeflate_result result = libdeflate_deflate_decompress_ex(
        decompressor.get(), data.data(), data.size(), bytes.data(), bytes.size(), &used, &made);
    if (result != LIBDEFLATE_SUCCESS && result != LIBDEFLATE_INSUFFICIENT_SPACE) bytes.clear();
    return bytes;
  }

  // All bytes of the member, inflated and checked.
  std::vector<std::byte> inflate(const ZipMember& member) const {
    const std::span<const std::byte> data = raw(member);
    std::vector<std::byte> bytes;
    if (member.method == ZipMethod::kStored) {
      bytes.assign(data.begin(), data.end());
    } else {
      if (member.size / kMaxRatio > data.size() + 1) {
        throw input_error(where(member),
                          fmt::format("{} bytes said to inflate to {}", data.size(), member.size),
                          "a size that deflate can reach");
      }
      bytes.resize(member.size);
      const Decompressor decompressor(libdeflate_alloc_decompressor());
      if (!decompressor) throw std::bad_alloc();
      std::size_t used = 0;
      const libdeflate_result result = libdeflate_deflate_decompress_ex(
          decompressor.get(), data.data(), data.size(), bytes.data(), bytes.size(), &used, nullptr);
      if (result != LIBDEFLATE_SUCCESS || used != data.size()) {
        throw input_error(where(member), "damaged deflate data",
                          fmt::format("data that inflates to {} bytes", member.size));
      }
    }
    // A copy is made: the file's own pages need not stay.
    give_back(data);
    const std::uint32_t crc = libdeflate_crc32(0, bytes.data(), bytes.size());
    if (crc != member.crc32) {
      throw input_error(where(member), fmt::format("CRC-32 {:08x}", crc),
                        fmt::format("{:08x} (the file is damaged)", member.crc32));
    }
    return bytes;
  }

  MappedFile file;
  std::vector<ZipMember> members;
  std::vector<std::string> names;
};

NpzReader::NpzReader(const std::filesystem::path& path) : impl_(std::make_unique<Impl>(path)) {
  impl_->members = read_zip_directory(impl_->file.bytes(), path.string());
  std::set<std::string> names;
  for (const ZipMember& member : impl_->members) {
    std::string name = member.name;
    if (name.ends_with(kSuffix)) name.resize(name.size() - kSuffix.size());
    if (!names.insert(name).second) {
      throw input_error(path.string(),
                        fmt::format("array '{}' stands twice, with .npy and without", shown(name)),
                        "every name once");
    }
    impl_->names.push_back(std::move(name));
  }
}

NpzReader::~NpzReader() = default;
NpzReader::NpzReader(NpzReader&&) noexcept = default;
NpzReader& NpzReader::operator=(NpzReader&&) noexcept = default;

const std::vector<std::string>& NpzReader::names() const noexcept { return impl_->names; }

bool NpzReader::contains(std::string_view name) const noexcept {
  return std::ranges::find(impl_->names, name) != impl_->names.end();
}

Array NpzReader::read(std::string_view name) const {
  const ZipMember& member = impl_->find(name);
  return npy_array(std::string(name), impl_->inflate(member), impl_->where(member));
}

ArrayForm NpzReader::form_of(std::string_view name) const {
  const ZipMember& member = impl_->find(name);
  // numpy's own header, then the longest behind the largest piece that deflate has.
  for (const std::size_t most : {std::size_t{1024}, std::size_t{65536 + 12 + 65535}}) {
    try {
      return npy_form(impl_->inflate_header(member, most), impl_->where(member));
    } catch (const Error&) {
    }
  }
  return npy_form(impl_->inflate(member), impl_->where(member));  // says what is wrong with it
}

std::uint64_t NpzReader::size_of(std::string_view name) const { return impl_->find(name).size; }

std::optional<ArrayView> NpzReader::view(std::string_view name) const {
  const ZipMember& member = impl_->find(name);
  if (member.method != ZipMethod::kStored) return std::nullopt;
  NpyData data = npy_data(std::string(name), impl_->raw(member), impl_->where(member));
  if (data.fortran_order) return std::nullopt;
  return std::move(data.view);
}

}  // namespace assay
