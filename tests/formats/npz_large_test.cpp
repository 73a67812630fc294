// Members that are inflated, or transposed, outside of memory.
#include <gtest/gtest.h>
#include <libdeflate.h>

#include <cstdlib>
#include <numeric>

#include "assay/npz.h"
#include "base/expect_error.h"
#include "base/temporary_directory.h"
#include "formats/array_room.h"
#include "formats/npy.h"
#include "formats/zip.h"

namespace assay {
namespace {

constexpr std::int64_t kRows = 3;
constexpr std::int64_t kColumns = 4'000'000;
static_assert(kRows * kColumns * 4 > static_cast<std::int64_t>(kMostInMemory));

// Compressible, and different everywhere.
Array large() {
  Array array{"x", DType::kU32, {kRows, kColumns}, {}};
  array.bytes.resize(kRows * kColumns * 4);
  std::iota(array.as<std::uint32_t>().begin(), array.as<std::uint32_t>().end(), 0u);
  return array;
}

// Deflated by libdeflate, with `tail` after the data and the size changed by `more`.
void write_member(const std::filesystem::path& path, std::string_view contents,
                  std::string_view tail = "", std::int64_t more = 0) {
  ZipMember member{"x.npy", ZipMethod::kDeflated, 0, 0, contents.size(), 0};
  member.crc32 = libdeflate_crc32(0, contents.data(), contents.size());
  libdeflate_compressor* compressor = libdeflate_alloc_compressor(1);
  std::string data(libdeflate_deflate_compress_bound(compressor, contents.size()), '\0');
  data.resize(libdeflate_deflate_compress(compressor, contents.data(), contents.size(), data.data(),
                                          data.size()));
  libdeflate_free_compressor(compressor);
  data += tail;
  member.compressed_size = data.size();
  member.size += static_cast<std::uint64_t>(more);
  const std::string head = zip_local_header(member) + data;
  write_text(path, head + zip_directory(std::vector{member}, head.size()));
}

std::string npy_text(const Array& array) {
  return npy_header(array.view()) +
         std::string(reinterpret_cast<const char*>(array.bytes.data()), array.bytes.size());
}

TEST(LargeMembers, AreInflatedIntoAFile) {
  const TemporaryDirectory directory;
  const Array array = large();
  for (const Compression compression : {Compression::kFast, Compression::kSmall}) {
    write_npz(directory / "x.npz", std::vector{array.view()}, compression);
    const NpzReader reader(directory / "x.npz");
    EXPECT_EQ(reader.form_of("x").shape, array.shape);
    const LoadedArray loaded = reader.load("x");
    EXPECT_TRUE(loaded.held);
    EXPECT_TRUE(loaded.view.mapped);
    EXPECT_TRUE(loaded.owned.empty());
    EXPECT_EQ(loaded.view.shape, array.shape);
    EXPECT_TRUE(std::ranges::equal(loaded.view.bytes, array.bytes));
    EXPECT_EQ(reader.read("x").bytes, array.bytes);
  }
}

TEST(LargeMembers, AreTransposedInAFile) {
  const TemporaryDirectory directory;
  const Array array = large();
  // The same bytes, declared as another array in Fortran order.
  std::string text = npy_text(array);
  const std::string_view order = "'fortran_order': False";
  text.replace(text.find(order), order.size(), "'fortran_order': True ");
  write_member(directory / "x.npz", text);
  write_text(directory / "x.npy", text);
  const LoadedArray loaded = NpzReader(directory / "x.npz").load("x");
  EXPECT_TRUE(loaded.held);
  const auto values = loaded.view.as<std::uint32_t>();
  ASSERT_EQ(values.size(), static_cast<std::size_t>(kRows * kColumns));
  EXPECT_EQ(values[1], static_cast<std::uint32_t>(kRows));
  EXPECT_EQ(values[kColumns], 1u);
  EXPECT_EQ(values.back(), static_cast<std::uint32_t>(kRows * kColumns - 1));
}

TEST(LargeMembers, ThatAreDamagedAreInputErrors) {
  const TemporaryDirectory directory;
  const auto file = directory / "x.npz";
  const std::string text = npy_text(large());
  const auto refuse = [&](std::initializer_list<std::string_view> parts) {
    expect_error(ErrorKind::kInput, parts, [&] { NpzReader(file).load("x"); });
  };
  write_member(file, text, "", -1);
  refuse({"x.npz", "member 'x.npy'", "damaged deflate data"});
  write_member(file, text, "", 1);
  refuse({"member 'x.npy'", "damaged deflate data"});
  write_member(file, text, "z");
  refuse({"member 'x.npy'", "damaged deflate data"});
  std::string archive = read_text(file);
  archive[archive.size() / 2] ^= 1;
  write_text(file, archive);
  refuse({"member 'x.npy'"});
}

TEST(LargeMembers, NeedRoomOnADisk) {
  const TemporaryDirectory directory;
  write_npz(directory / "x.npz", std::vector{large().view()}, Compression::kFast);
  const char* before = std::getenv("TMPDIR");
  const std::string kept = before == nullptr ? "" : before;
  ::setenv("TMPDIR", (directory / "absent").c_str(), 1);
  expect_error(ErrorKind::kSystem, {"x.npz: member 'x.npy'", "48.0 MB", "absent", "TMPDIR"},
               [&] { NpzReader(directory / "x.npz").load("x"); });
  before == nullptr ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", kept.c_str(), 1);
}

}  // namespace
}  // namespace assay
