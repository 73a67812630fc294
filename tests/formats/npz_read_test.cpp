#include <gtest/gtest.h>
#include <libdeflate.h>

#include <numeric>

#include "assay/npz.h"
#include "base/expect_error.h"
#include "base/temporary_directory.h"
#include "formats/golden_arrays.h"
#include "formats/zip.h"

namespace assay {
namespace {

// An archive of one stored or, with `inflated_size`, deflated member "x.npy".
std::string archive_of(std::string_view data, std::uint64_t inflated_size = 0,
                       std::uint32_t crc_change = 0) {
  ZipMember member{"x.npy", ZipMethod::kStored, 0, data.size(), data.size(), 0};
  member.crc32 = libdeflate_crc32(0, data.data(), data.size()) ^ crc_change;
  if (inflated_size != 0) {
    member.method = ZipMethod::kDeflated;
    member.size = inflated_size;
  }
  std::string archive = zip_local_header(member) + std::string(data);
  return archive + zip_directory(std::vector{member}, archive.size());
}

std::string npy(std::string_view dict, std::string_view data = "",
                std::string_view version = std::string_view("\1\0", 2)) {
  std::string result = "\x93NUMPY" + std::string(version);
  result += static_cast<char>(dict.size() & 0xFF);
  result += static_cast<char>(dict.size() >> 8);
  if (version[0] != '\1') result.append(2, '\0');
  return result.append(dict).append(data);
}

Array read(const std::string& archive) {
  const TemporaryDirectory directory;
  write_text(directory / "x.npz", archive);
  return NpzReader(directory / "x.npz").read("x");
}

void refuse(const std::string& archive, std::initializer_list<std::string_view> message) {
  expect_error(ErrorKind::kInput, message, [&] { read(archive); });
}

// Elements that deflate badly, well and not at all, after the header's own block or in it.
TEST(NpzReader, KnowsTheFormOfLargeMembers) {
  const TemporaryDirectory directory;
  for (const std::uint32_t step : {0u, 1u, 2654435761u}) {
    Array array{"x", DType::kU32, {3, 250'000}, {}};
    array.bytes.resize(3'000'000);
    std::uint32_t value = 1;
    for (std::uint32_t& x : array.as<std::uint32_t>()) x = value = value * 1664525u * step + step;
    for (const Compression compression :
         {Compression::kNone, Compression::kFast, Compression::kSmall}) {
      write_npz(directory / "x.npz", std::vector{array.view()}, compression);
      const NpzReader reader(directory / "x.npz");
      EXPECT_EQ(reader.form_of("x").dtype, DType::kU32);
      EXPECT_EQ(reader.form_of("x").shape, array.shape);
      EXPECT_EQ(reader.read("x").bytes, array.bytes);
    }
  }
}

TEST(NpzReader, ReadsWhatNumpyWrites) {
  for (const char* file : {"numpy_stored.npz", "numpy_deflated.npz"}) {
    const NpzReader reader(golden(file));
    const std::vector<Array> arrays = golden_arrays();
    ASSERT_EQ(reader.names().size(), arrays.size());
    for (std::size_t i = 0; i < arrays.size(); ++i) {
      EXPECT_EQ(reader.names()[i], arrays[i].name);
      const ArrayForm form = reader.form_of(arrays[i].name);
      EXPECT_EQ(form.dtype, arrays[i].dtype);
      EXPECT_EQ(form.shape, arrays[i].shape);
      const Array array = reader.read(arrays[i].name);
      EXPECT_EQ(array.dtype, arrays[i].dtype);
      EXPECT_EQ(array.shape, arrays[i].shape);
      EXPECT_EQ(array.bytes, arrays[i].bytes) << arrays[i].name;
    }
  }
}

TEST(NpzReader, ReadsDataDescriptorsAndComments) {
  const Array expected = pattern("", DType::kF32, {1, 4, 33});
  const NpzReader descriptors(golden("data_descriptors.npz"));
  EXPECT_EQ(descriptors.read("stored").bytes, expected.bytes);
  EXPECT_EQ(descriptors.read("deflated").bytes, expected.bytes);
  const NpzReader comments(golden("comments.npz"));
  EXPECT_EQ(comments.read("commented").bytes, expected.bytes);
}

TEST(NpzReader, TransposesFortranOrderInEveryHeaderVersion) {
  std::vector<float> expected(24);
  std::iota(expected.begin(), expected.end(), 0.0F);
  const NpzReader reader(golden("versions.npz"));
  for (const char* name : {"fortran_v1", "fortran_v2", "fortran_v3"}) {
    const Array array = reader.read(name);
    EXPECT_EQ(array.shape, (Shape{2, 3, 4}));
    EXPECT_TRUE(std::ranges::equal(array.as<float>(), expected)) << name;
  }
}

TEST(NpzReader, AnAbsentArrayOrFileIsAnInputErrorThatNamesIt) {
  const NpzReader reader(golden("numpy_stored.npz"));
  EXPECT_TRUE(reader.contains("scalar"));
  EXPECT_FALSE(reader.contains("scalar.npy"));
  expect_error(ErrorKind::kInput, {"numpy_stored.npz: no array 'logits'", "one of its 14 arrays"},
               [&] { reader.read("logits"); });
  expect_error(ErrorKind::kInput, {"absent.npz: cannot open: No such file"},
               [] { NpzReader absent(golden("absent.npz")); });
}

TEST(NpzReader, AFileCutAnywhereIsAnInputError) {
  const std::string whole = read_text(golden("numpy_deflated.npz"));
  const TemporaryDirectory directory;
  for (std::size_t size = 0; size < whole.size(); ++size) {
    ASSERT_THROW(read_zip_directory(bytes_of(whole).first(size), "cut.npz"), Error) << size;
    if (size % 97 != 0) continue;
    write_text(directory / "cut.npz", whole.substr(0, size));
    expect_error(ErrorKind::kInput, {"cut.npz"}, [&] { NpzReader reader(directory / "cut.npz"); });
  }
}

TEST(NpzReader, DamagedDataIsAnInputErrorThatNamesTheMember) {
  const std::string file = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "1234");
  EXPECT_EQ(read(archive_of(file)).shape, Shape{1});
  refuse(archive_of(file, 0, 1), {"x.npz: member 'x.npy': CRC-32", "the file is damaged"});
  refuse(archive_of("not deflate", 100), {"member 'x.npy': damaged deflate data", "100 bytes"});
  refuse(archive_of("tiny", std::uint64_t{1} << 40), {"4 bytes said to inflate to 1099511627776"});
  // A whole stream (an empty stored block) with something after it.
  refuse(archive_of(std::string_view("\1\0\0\xFF\xFF+", 6), 1), {"damaged deflate data"});
}

TEST(NpzReader, AnEmptyMemberIsNoArray) {
  refuse(archive_of(""), {"member 'x.npy': no npy header"});
}

TEST(NpzReader, OneArrayWithAndWithoutSuffixIsAmbiguous) {
  const std::string data = npy("{'descr': '|u1', 'fortran_order': False, 'shape': (0,), }");
  const std::uint32_t crc = libdeflate_crc32(0, data.data(), data.size());
  std::vector<ZipMember> members = {{"x.npy", ZipMethod::kStored, crc, data.size(), data.size(), 0},
                                    {"x", ZipMethod::kStored, crc, data.size(), data.size(), 0}};
  std::string archive;
  for (ZipMember& member : members) {
    member.header_offset = archive.size();
    archive += zip_local_header(member) + data;
  }
  refuse(archive + zip_directory(members, archive.size()), {"duplicate array 'x'"});
}

TEST(NpyHeader, ReadsWhatOtherWritersSpell) {
  for (const char* descr : {"<f4", "=f4", "|f4"}) {
    const Array array = read(archive_of(npy(
        std::string("{\"shape\":(1,) ,'fortran_order':False,'descr':'") + descr + "'}\n", "1234")));
    EXPECT_EQ(array.dtype, DType::kF32);
  }
  EXPECT_EQ(
      read(archive_of(npy("{'descr':'<u1','fortran_order':True,'shape':(2,2)}", "1234"))).dtype,
      DType::kU8);
}

TEST(NpyHeader, EveryWrongOneIsAnInputErrorThatSaysWhatIsWrong) {
  const struct {
    std::string file;
    std::string_view message;
  } cases[] = {
      {"", "no npy header"},
      {"\x93NUMPX\1\0aaaaaaaa", "no npy header"},
      {npy("{}          ", "", std::string_view("\4\0", 2)), "npy version 4.0; expected 1.0"},
      {npy("{}          ", "", std::string_view("\1\1", 2)), "npy version 1.1"},
      {std::string("\x93NUMPY\1\0\xFF\xFF{}", 12), "npy header of 65535 bytes"},
      {std::string("\x93NUMPY\2\0\xFF\xFF\xFF\xFF{}", 14), "npy header of 4294967295 bytes"},
      {npy("            "), "npy header: it ends; expected '{'"},
      {npy("{}          "), "a key is missing"},
      {npy("{'descr': '<f4', 'fortran_order': False, }"), "a key is missing"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0,), 'x': 1}"), "key 'x'"},
      {npy("{'descr': '<f4', 'descr': '<f4', 'shape': (0,)}"), "duplicate key 'descr'"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0,), } ;"), "text after the dict"},
      {npy("{'descr': '<f4', 'fortran_order': 0, 'shape': (0,)}"), "expected True or False"},
      {npy("{'descr': '>f4', 'fortran_order': False, 'shape': (0,)}"), "dtype '>f4'"},
      {npy("{'descr': '<c8', 'fortran_order': False, 'shape': (0,)}"), "dtype '<c8'"},
      {npy("{'descr': '|O', 'fortran_order': False, 'shape': (0,)}"), "dtype '|O'"},
      {npy("{'descr': '', 'fortran_order': False, 'shape': (0,)}"), "dtype ''"},
      {npy("{'descr': '<', 'fortran_order': False, 'shape': (0,)}"), "dtype '<'"},
      {npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (0,)}"),
       "a structured dtype"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"),
       "an axis that is not a size"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1.5,)}"), "expected ')'"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}"),
       "an axis that is not a size"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': 3}"), "expected '('"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1"), "it ends; expected ')'"},
      {npy("{'descr': '<f4, 'fortran_order': False, 'shape': (1,)}"), "dtype '<f4, '"},
      {npy("{'descr"), "expected a string"},
      {npy("{'descr       "), "expected a string"},
      {npy("{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807,)}"),
       "an array that fits in memory"},
      {npy("{'descr': '<f8', 'fortran_order': False, 'shape': (4294967296, 4294967296)}"),
       "too many elements"},
      {npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "1234567"),
       "7 bytes of data; expected 8 for shape [2] of F32"},
      {npy("{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2), }", "123456789"),
       "9 bytes of data; expected 8 for shape [1, 2] of F32"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.message);
    if (!c.file.empty()) refuse(archive_of(c.file), {"member 'x.npy'", c.message});
    const TemporaryDirectory directory;
    write_text(directory / "x.npy", c.file);
    expect_error(ErrorKind::kInput, {"x.npy: ", c.message}, [&] { read_npy(directory / "x.npy"); });
  }
  std::string axes;
  for (int i = 0; i < 65; ++i) axes += "1,";
  refuse(archive_of(npy("{'descr': '<f4', 'fortran_order': False, 'shape': (" + axes + ")}")),
         {"too many axes; expected at most 64"});
}

}  // namespace
}  // namespace assay
