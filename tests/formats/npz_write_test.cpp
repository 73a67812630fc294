#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <random>

#include "base/expect_error.h"
#include "base/temporary_directory.h"
#include "formats/golden_arrays.h"
#include "formats/npz_writer.h"
#include "formats/zip.h"

namespace assay {
namespace {

std::string written(const std::vector<Array>& arrays, Compression compression, int threads = 1) {
  const TemporaryDirectory directory;
  write_npz(directory / "x.npz", views(arrays), compression, threads);
  EXPECT_EQ(directory.names().size(), 1u);
  return read_text(directory / "x.npz");
}

void blank(std::string& text, std::size_t at, std::size_t size) {
  ASSERT_LE(at + size, text.size());
  text.replace(at, size, size, '_');
}

// Local and central headers and end record, without what depends on the deflated length.
std::string fields(const std::string& archive) {
  std::string result;
  const auto members = read_zip_directory(bytes_of(archive), "archive");
  std::size_t data_end = 0;
  for (const ZipMember& member : members) {
    EXPECT_EQ(member.header_offset, data_end);  // nothing in between
    const auto data = zip_member_data(bytes_of(archive), member, "archive");
    const auto data_at =
        static_cast<std::size_t>(reinterpret_cast<const char*>(data.data()) - archive.data());
    std::string header = archive.substr(member.header_offset, data_at - member.header_offset);
    blank(header, header.size() - 8, 8);  // compressed size, in the zip64 field
    result += header;
    data_end = data_at + data.size();
  }
  std::size_t at = data_end;
  for (const ZipMember& member : members) {
    std::string record = archive.substr(at, 46 + member.name.size());
    blank(record, 20, 4);  // compressed size
    blank(record, 42, 4);  // offset
    result += record;
    at += record.size();
  }
  std::string end = archive.substr(at);
  EXPECT_EQ(end.size(), 22u);
  blank(end, 16, 4);  // directory offset
  return result + end;
}

TEST(NpzWriter, StoredArchivesAreNumpysByteForByte) {
  EXPECT_TRUE(written(golden_arrays(), Compression::kNone) ==
              read_text(golden("numpy_stored.npz")));
}

TEST(NpzWriter, DeflatedArchivesHaveNumpysFields) {
  const std::string expected = fields(read_text(golden("numpy_deflated.npz")));
  for (const Compression compression : {Compression::kFast, Compression::kSmall}) {
    EXPECT_TRUE(fields(written(golden_arrays(), compression)) == expected);
  }
}

TEST(NpzWriter, WhatIsWrittenIsRead) {
  const TemporaryDirectory directory;
  const std::vector<Array> arrays = golden_arrays();
  for (const Compression compression :
       {Compression::kNone, Compression::kFast, Compression::kSmall}) {
    write_npz(directory / "x.npz", views(arrays), compression);
    const NpzReader reader(directory / "x.npz");
    ASSERT_EQ(reader.names().size(), arrays.size());
    for (std::size_t i = 0; i < arrays.size(); ++i) {
      const Array read = reader.read(arrays[i].name);
      EXPECT_EQ(reader.names()[i], arrays[i].name);
      EXPECT_EQ(read.name, arrays[i].name);
      EXPECT_EQ(read.dtype, arrays[i].dtype);
      EXPECT_EQ(read.shape, arrays[i].shape);
      EXPECT_EQ(read.bytes, arrays[i].bytes);
    }
  }
}

TEST(NpzWriter, TheBytesDoNotDependOnThreads) {
  const unsigned seed = std::random_device()();
  std::mt19937 random(seed);
  std::vector<Array> arrays;
  for (int i = 0; i < 40; ++i) {
    Array array{"array_" + std::to_string(i), DType::kF32, {}, {}};
    array.shape = {static_cast<std::int64_t>(random() % 20000)};
    array.bytes.resize(static_cast<std::size_t>(array.shape[0]) * 4);
    for (std::size_t b = 0; b < array.bytes.size(); ++b) {
      array.bytes[b] = static_cast<std::byte>(b % 4 < 2 ? 0 : random());
    }
    arrays.push_back(std::move(array));
  }
  const std::string expected = written(arrays, Compression::kFast, 1);
  for (const int threads : {1, 2, 3, 8}) {
    for (int repeat = 0; repeat < 5; ++repeat) {
      ASSERT_TRUE(written(arrays, Compression::kFast, threads) == expected) << "seed " << seed;
    }
  }
}

TEST(NpzWriter, TakesArraysInAnyOrderForPlacesReservedBefore) {
  const std::vector<Array> arrays = golden_arrays();
  for (const Compression compression : {Compression::kNone, Compression::kFast}) {
    for (const bool close_first : {false, true}) {
      const TemporaryDirectory directory;
      NpzWriter writer(directory / "x.npz", compression);
      for (const Array& array : arrays) writer.reserve(array.view());
      if (close_first) writer.close();
      for (std::size_t i = arrays.size(); i-- > 0;) {
        EXPECT_FALSE(std::filesystem::exists(directory / "x.npz"));
        const auto owner = std::make_shared<const Array>(arrays[i]);
        writer.put(i, owner->view(), owner);
      }
      if (!close_first) writer.close();
      EXPECT_TRUE(read_text(directory / "x.npz") == written(arrays, compression));
    }
  }
}

TEST(NpzWriter, LeavesNothingOfAFileThatMissesAnArray) {
  const std::vector<Array> arrays = golden_arrays();
  const TemporaryDirectory directory;
  {
    NpzWriter writer(directory / "x.npz", Compression::kFast);
    for (const Array& array : arrays) writer.reserve(array.view());
    writer.close();
    for (std::size_t i = 1; i < arrays.size(); ++i) writer.put(i, arrays[i].view());
    expect_error(ErrorKind::kInput, {"given twice"}, [&] { writer.reserve(arrays[0].view()); });
  }
  EXPECT_TRUE(directory.names().empty());
}

TEST(NpzWriter, AnArchiveOfNothingIsNumpysToo) {
  EXPECT_EQ(written({}, Compression::kFast),
            std::string("PK\x05\x06") + std::string(18, '\0'));  // np.savez(file)
}

TEST(NpzWriter, ArraysThatDoNotFitAreInputErrorsAndLeaveNothing) {
  const auto refuse = [](const std::vector<Array>& arrays, std::string_view message) {
    const TemporaryDirectory directory;
    expect_error(ErrorKind::kInput, {message},
                 [&] { write_npz(directory / "x.npz", views(arrays)); });
    EXPECT_TRUE(directory.names().empty());
  };
  const Array good = pattern("good", DType::kF32, {2});
  refuse({good, good}, "array 'good': given twice");
  refuse({pattern("", DType::kF32, {2})}, "a name of 0 bytes; expected 1 to 60000");
  refuse({pattern(std::string(60001, 'x'), DType::kF32, {2})}, "a name of 60001 bytes");
  refuse({pattern("\xFF", DType::kF32, {2})}, "a name that is not UTF-8");
  refuse({pattern(std::string("a\0b", 3), DType::kF32, {2})},
         "'a\\x00b': a name that is not UTF-8");
  refuse({pattern("weight", DType::kBF16, {2})},
         "array 'weight': dtype BF16; expected one that numpy has");
  refuse({good, {"short", DType::kF32, {3}, std::vector<std::byte>(11)}},
         "array 'short': 11 bytes; expected 3 elements of F32, shape [3]");
  refuse({{"wraps", DType::kF64, {std::int64_t{1} << 61}, {}}}, "array 'wraps': 0 bytes");
  refuse({{"negative", DType::kF32, {-1}, {}}}, "shape [-1]; expected no negative axis");
  refuse({pattern("deep", DType::kF32, Shape(65, 1))}, "array 'deep': 65 axes");
}

TEST(NpzWriter, AFullDiskIsASystemErrorOnEveryThreadCountAndLeavesNothing) {
  const std::vector<Array> arrays(30, pattern("x", DType::kU8, {300000}));
  std::vector<ArrayView> named = views(arrays);
  for (std::size_t i = 0; i < named.size(); ++i) named[i].name += std::to_string(i);
  for (const int threads : {1, 4}) {
    const TemporaryDirectory directory;
    const pid_t child = ::fork();
    if (child == 0) {
      ::signal(SIGXFSZ, SIG_IGN);
      const rlimit limit{.rlim_cur = 2500000, .rlim_max = 2500000};
      ::setrlimit(RLIMIT_FSIZE, &limit);
      try {
        write_npz(directory / "x.npz", named, Compression::kNone, threads);
      } catch (const Error& error) {
        ::_exit(static_cast<int>(error.kind()));
      }
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 4) << status;
    EXPECT_TRUE(directory.names().empty());
  }
}

TEST(NpyWriter, AFileIsTheMemberOfAnArchive) {
  const TemporaryDirectory directory;
  const std::string archive = read_text(golden("numpy_stored.npz"));
  const auto members = read_zip_directory(bytes_of(archive), "archive");
  const std::vector<Array> arrays = golden_arrays();
  for (std::size_t i = 0; i < arrays.size(); ++i) {
    write_npy(directory / "array.npy", arrays[i].view());
    const auto member = zip_member_data(bytes_of(archive), members[i], "archive");
    EXPECT_TRUE(std::ranges::equal(bytes_of(read_text(directory / "array.npy")), member));
    const Array read = read_npy(directory / "array.npy");
    EXPECT_EQ(read.name, "array");
    EXPECT_EQ(read.dtype, arrays[i].dtype);
    EXPECT_EQ(read.shape, arrays[i].shape);
    EXPECT_EQ(read.bytes, arrays[i].bytes);
  }
}

}  // namespace
}  // namespace assay
