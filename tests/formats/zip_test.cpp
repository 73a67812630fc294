#include "formats/zip.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/expect_error.h"
#include "base/temporary_directory.h"

namespace assay {
namespace {

std::uint64_t number(std::string_view text, std::size_t at, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = size; i-- > 0;) {
    value = value << 8 | static_cast<unsigned char>(text.at(at + i));
  }
  return value;
}

void put(std::string& text, std::size_t at, std::size_t size, std::uint64_t value) {
  for (std::size_t i = 0; i < size; ++i) text.at(at + i) = static_cast<char>(value >> (8 * i));
}

constexpr std::uint64_t kLimit = (std::uint64_t{1} << 31) - 1;  // where zipfile switches to zip64

TEST(Zip, LocalHeadersCarryTheSizesInTheZip64Field) {
  const std::uint64_t size = 5'000'000'000;
  const std::string header =
      zip_local_header({"größe.npy", ZipMethod::kDeflated, 0x01020304, 4'999'999'999, size, 77});
  ASSERT_EQ(header.size(), 30 + 11 + 20u);
  EXPECT_EQ(number(header, 4, 2), 45u);         // version needed
  EXPECT_EQ(number(header, 6, 2), 0x800u);      // UTF-8 name
  EXPECT_EQ(number(header, 8, 2), 8u);          // deflated
  EXPECT_EQ(number(header, 10, 4), 33u << 16);  // 1980-01-01 00:00
  EXPECT_EQ(number(header, 14, 4), 0x01020304u);
  EXPECT_EQ(number(header, 18, 8), ~std::uint64_t{0});
  EXPECT_EQ(number(header, 41, 4), 1u | 16u << 16);
  EXPECT_EQ(number(header, 45, 8), size);
  EXPECT_EQ(number(header, 53, 8), 4'999'999'999u);
}

// The rules of zipfile._write_end_record: both sizes go to the extra field when one is too large,
// the offset on its own.
TEST(Zip, DirectoryRecordsTurnToZip64WhereZipfileDoes) {
  const struct {
    std::uint64_t size, compressed, offset;
    std::size_t extra;
  } cases[] = {{kLimit, kLimit, kLimit, 0},
               {kLimit + 1, 5, 6, 20},
               {5, kLimit + 1, 6, 20},
               {5, 5, kLimit + 1, 12},
               {kLimit + 1, 5, kLimit + 1, 28}};
  for (const auto& c : cases) {
    const ZipMember member{"x", ZipMethod::kDeflated, 9, c.compressed, c.size, c.offset};
    const std::string out = zip_directory(std::vector{member}, 1000);
    const std::size_t record = 46 + 1 + c.extra;
    ASSERT_EQ(out.size(), record + 22);
    EXPECT_EQ(number(out, 4, 2), 45u | 3u << 8);  // made by zip64, on Unix
    EXPECT_EQ(number(out, 38, 4), 0600u << 16);
    EXPECT_EQ(number(out, 30, 2), c.extra);
    const bool sizes = c.extra >= 20;
    EXPECT_EQ(number(out, 20, 4), sizes ? 0xFFFFFFFFu : c.compressed);
    EXPECT_EQ(number(out, 24, 4), sizes ? 0xFFFFFFFFu : c.size);
    EXPECT_EQ(number(out, 42, 4), c.offset > kLimit ? 0xFFFFFFFFu : c.offset);
    if (c.extra == 0) continue;
    EXPECT_EQ(number(out, 47, 2), 1u);
    EXPECT_EQ(number(out, 49, 2), c.extra - 4);
    std::size_t at = 51;
    if (sizes) {
      EXPECT_EQ(number(out, at, 8), c.size);
      EXPECT_EQ(number(out, at + 8, 8), c.compressed);
      at += 16;
    }
    if (c.offset > kLimit) {
      EXPECT_EQ(number(out, at, 8), c.offset);
    }
  }
}

TEST(Zip, EndRecordsTurnToZip64ForLargeOffsetsAndManyMembers) {
  const auto zip64_end = [](std::size_t count, std::uint64_t offset) {
    const std::vector<ZipMember> members(count, ZipMember{"x", ZipMethod::kStored, 0, 0, 0, 0});
    const std::string out = zip_directory(members, offset);
    const std::size_t directory = count * 47;
    if (out.size() == directory + 22) return false;
    EXPECT_EQ(out.size(), directory + 56 + 20 + 22);
    EXPECT_EQ(number(out, directory, 4), 0x06064B50u);
    EXPECT_EQ(number(out, directory + 24, 8), count);
    EXPECT_EQ(number(out, directory + 32, 8), count);
    EXPECT_EQ(number(out, directory + 40, 8), directory);
    EXPECT_EQ(number(out, directory + 48, 8), offset);
    EXPECT_EQ(number(out, directory + 56 + 8, 8), offset + directory);
    const std::size_t end = directory + 76;
    EXPECT_EQ(number(out, end + 10, 2), std::min<std::size_t>(count, 65535));
    EXPECT_EQ(number(out, end + 16, 4), std::min<std::uint64_t>(offset, 0xFFFFFFFF));
    return true;
  };
  EXPECT_FALSE(zip64_end(1, kLimit));
  EXPECT_TRUE(zip64_end(1, kLimit + 1));
  EXPECT_TRUE(zip64_end(1, 5'000'000'000));
  EXPECT_FALSE(zip64_end(65535, 1000));
  EXPECT_TRUE(zip64_end(65536, 1000));
}

// Small, but every field that can be is in a zip64 record.
struct Zip64Archive {
  std::string bytes;
  std::size_t extra;  // of the one directory record
  std::size_t end64;
};

Zip64Archive zip64_archive() {
  const ZipMember member{"x.npy", ZipMethod::kStored, 0, 4, 4, 0};
  Zip64Archive a;
  a.bytes = zip_local_header(member) + "data";
  const std::size_t directory = a.bytes.size();
  std::string record = zip_directory(std::vector{member}, directory).substr(0, 46 + 5);
  put(record, 20, 4, 0xFFFFFFFF);
  put(record, 24, 4, 0xFFFFFFFF);
  put(record, 30, 2, 28 + 8);
  put(record, 42, 4, 0xFFFFFFFF);
  a.bytes += record;
  a.bytes += std::string("\x55\x55\4\0skip", 8);  // another field first
  a.extra = a.bytes.size();
  std::string extra(28, '\0');
  put(extra, 0, 2, 1);
  put(extra, 2, 2, 24);
  put(extra, 4, 8, 4);
  put(extra, 12, 8, 4);
  put(extra, 20, 8, 0);
  a.bytes += extra;
  a.end64 = a.bytes.size();
  std::string end = zip_directory(std::vector<ZipMember>(65536), 0).substr(65536 * 46);
  put(end, 24, 8, 1);
  put(end, 32, 8, 1);
  put(end, 40, 8, a.end64 - directory);
  put(end, 48, 8, directory);
  put(end, 56 + 8, 8, a.end64);
  put(end, 76 + 8, 4, 0xFFFFFFFF);
  put(end, 76 + 12, 8, ~std::uint64_t{0});
  a.bytes += end;
  return a;
}

TEST(Zip, ReadsZip64Records) {
  const Zip64Archive a = zip64_archive();
  const auto members = read_zip_directory(bytes_of(a.bytes), "x.npz");
  ASSERT_EQ(members.size(), 1u);
  EXPECT_EQ(members[0].size, 4u);
  EXPECT_EQ(members[0].compressed_size, 4u);
  EXPECT_EQ(members[0].header_offset, 0u);
  EXPECT_TRUE(std::ranges::equal(zip_member_data(bytes_of(a.bytes), members[0], "x.npz"),
                                 bytes_of("data")));
}

TEST(Zip, ReadsMoreThan65535Members) {
  std::vector<ZipMember> members;
  std::string bytes;
  for (int i = 0; i < 70000; ++i) {
    members.push_back({std::to_string(i), ZipMethod::kStored, 0, 0, 0, bytes.size()});
    bytes += zip_local_header(members.back());
  }
  bytes += zip_directory(members, bytes.size());
  const auto read = read_zip_directory(bytes_of(bytes), "x.npz");
  ASSERT_EQ(read.size(), 70000u);
  EXPECT_EQ(read.back().name, "69999");
}

TEST(Zip, LyingZip64RecordsAreInputErrors) {
  const auto refuse = [](std::size_t at, std::size_t size, std::uint64_t value,
                         std::string_view message) {
    Zip64Archive a = zip64_archive();
    put(a.bytes, a.extra + at, size, value);
    expect_error(ErrorKind::kInput, {"x.npz: ", message},
                 [&] { read_zip_directory(bytes_of(a.bytes), "x.npz"); });
  };
  const std::uint64_t huge = ~std::uint64_t{0};
  refuse(2, 2, 16, "zip64 field too short in 'x.npy'");
  refuse(2, 2, 25, "an extra field that runs past 'x.npy'");
  refuse(12, 8, huge, "runs past the end");
  refuse(12, 8, 5, "overlaps");
  refuse(20, 8, huge, "no local header at byte 18446744073709551615");
  refuse(20, 8, 1, "no local header at byte 1");
}

TEST(Zip, LyingEndRecordsAreInputErrors) {
  const auto refuse = [](std::size_t at, std::uint64_t value, std::string_view message) {
    Zip64Archive a = zip64_archive();
    put(a.bytes, a.end64 + at, 8, value);
    expect_error(ErrorKind::kInput, {"x.npz: ", message},
                 [&] { read_zip_directory(bytes_of(a.bytes), "x.npz"); });
  };
  const std::uint64_t huge = ~std::uint64_t{0};
  refuse(32, huge, "18446744073709551615 members in a directory of");
  refuse(32, 0, "bytes after the directory's 0 members");
  refuse(40, huge, "zip directory of 18446744073709551615 bytes");
  refuse(40, 20, "1 members in a directory of 20 bytes");
  refuse(40, 50, "runs past the directory");
  refuse(48, huge, "at byte 18446744073709551615");
  refuse(48, 0, "no directory record at byte 0");
  refuse(56 + 8, huge, "zip64 end record not at byte 18446744073709551615");
  refuse(56 + 8, 0, "zip64 end record not at byte 0");
  // The number of parts, and the next signature; the part with the record, and its offset.
  refuse(56 + 16, std::uint64_t{0x06054B50} << 32 | 2, "a zip64 archive in several parts");
  refuse(56 + 4, (zip64_archive().end64 << 32) | 1, "a zip64 archive in several parts");
}

// numpy takes the bytes before the locator for the end record, whatever the offset says.
TEST(Zip, BytesBetweenTheZip64EndRecordAndItsLocatorAreRefused) {
  Zip64Archive a = zip64_archive();
  const std::size_t end64 = a.end64;
  a.bytes.insert(end64 + 56, "more");
  expect_error(ErrorKind::kInput,
               {"x.npz: ", fmt::format("zip64 end record not at byte {}", end64)},
               [&] { read_zip_directory(bytes_of(a.bytes), "x.npz"); });
}

// As in Python, a name whose bytes are not marked as UTF-8 differs.
TEST(Zip, ANameInAnotherEncodingIsAnotherName) {
  const ZipMember member{"\xC3\xA9.npy", ZipMethod::kStored, 0, 4, 4, 0};
  std::string bytes = zip_local_header(member) + "data";
  bytes += zip_directory(std::vector{member}, bytes.size());
  EXPECT_EQ(read_zip_directory(bytes_of(bytes), "x.npz").size(), 1u);
  put(bytes, 6, 2, 0);  // the local header's flags
  expect_error(ErrorKind::kInput, {"x.npz: ", "has a different name in its local header"},
               [&] { read_zip_directory(bytes_of(bytes), "x.npz"); });
}

// Two stored members "a" and "b" of four bytes.
std::string two_members() {
  std::vector<ZipMember> members;
  std::string bytes;
  for (const char* name : {"a", "b"}) {
    members.push_back({name, ZipMethod::kStored, 0, 4, 4, bytes.size()});
    bytes += zip_local_header(members.back()) + "data";
  }
  return bytes + zip_directory(members, bytes.size());
}

TEST(Zip, EveryWrongFieldIsAnInputErrorThatNamesIt) {
  constexpr std::size_t kLocal = 30 + 1 + 20;
  constexpr std::size_t kDirectory = 2 * (kLocal + 4);
  constexpr std::size_t kSecond = kDirectory + 47;
  const struct {
    std::size_t at, size;
    std::uint64_t value;
    std::string_view message;
  } cases[] = {
      {0, 4, 0, "member 'a': no local header at byte 0"},
      {26, 2, 65535, "ends inside a zip record"},
      {26, 2, 2, "member 'a' has a different name in its local header"},
      {28, 2, 65535, "member 'a' of 4 bytes runs past the end"},
      {30, 1, 'x', "member 'a' has a different name in its local header"},
      {kDirectory, 4, 0, "no directory record at byte"},
      {kDirectory + 8, 2, 1, "member 'a' is encrypted"},
      {kDirectory + 10, 2, 12, "member 'a' has compression method 12"},
      {kDirectory + 20, 4, 5, "member 'b' overlaps"},
      {kSecond + 20, 4, 5, "member 'b' overlaps"},
      {kDirectory + 20, 4, 0xFFFFFFFF, "member 'a' of 4294967295 bytes runs past the end"},
      {kDirectory + 28, 2, 65535, "runs past the directory"},
      {kDirectory + 30, 2, 65535, "runs past the directory"},
      {kDirectory + 32, 2, 65535, "runs past the directory"},
      {kDirectory + 42, 4, kLocal + 4, "a different name in its local header"},
      {kDirectory + 42, 4, 0xFFFFFFFF, "no local header at byte 4294967295"},
      {kSecond + 46, 1, 'a', "duplicate member 'a'"},
      {kSecond + 46, 1, '\n', "member '\\n' has a different name"},
      {kSecond + 46, 1, '\0', "member '\\x00' has a 0 byte in its name"},
      {kSecond + 47 + 10, 2, 1, "47 bytes after the directory's 1 members"},
      {kSecond + 47 + 10, 2, 3, "3 members in a directory of 94 bytes"},
      {kSecond + 47 + 12, 4, 0xFFFFFFFF, "zip directory of 4294967295 bytes"},
      {kSecond + 47 + 16, 4, 0xFFFFFFFF, "at byte 4294967295"},
      {kSecond + 47 + 20, 2, 1, "no zip end record"},
  };
  EXPECT_EQ(read_zip_directory(bytes_of(two_members()), "x.npz").size(), 2u);
  for (const auto& c : cases) {
    SCOPED_TRACE(c.message);
    std::string bytes = two_members();
    put(bytes, c.at, c.size, c.value);
    expect_error(ErrorKind::kInput, {"x.npz: ", c.message},
                 [&] { read_zip_directory(bytes_of(bytes), "x.npz"); });
  }
}

// Readers that search for records in another way would find other members.
TEST(Zip, WhatReadersSeeDifferentlyIsAnInputError) {
  const std::string archive = two_members();
  const auto refuse = [](const std::string& bytes, std::string_view message) {
    expect_error(ErrorKind::kInput, {"x.npz: ", message},
                 [&] { read_zip_directory(bytes_of(bytes), "x.npz"); });
  };
  std::string gap = archive;
  gap.insert(gap.size() - 22, "1234");
  refuse(gap, "4 bytes between the directory and the end records");
  Zip64Archive gap64 = zip64_archive();
  gap64.bytes.insert(gap64.end64, "1234");
  put(gap64.bytes, gap64.end64 + 4 + 56 + 8, 8, gap64.end64 + 4);
  refuse(gap64.bytes, "4 bytes between the directory and the end records");

  const auto with_comment = [&](std::string comment) {
    std::string bytes = archive;
    put(bytes, bytes.size() - 2, 2, comment.size());
    return bytes + comment;
  };
  const std::string comment = "a comment of the archive";
  EXPECT_EQ(read_zip_directory(bytes_of(with_comment(comment)), "x.npz").size(), 2u);
  refuse(with_comment(comment + "PK\5\6" + std::string(22, 'x')), "no zip end record");
}

TEST(Zip, ANonZipFileIsAnInputErrorThatSaysSo) {
  const auto refuse = [](const std::string& bytes, std::string_view message) {
    expect_error(ErrorKind::kInput, {"x.npz: ", message},
                 [&] { read_zip_directory(bytes_of(bytes), "x.npz"); });
  };
  refuse("", "0 bytes; expected a zip archive");
  refuse("PK\5\6", "4 bytes; expected a zip archive");
  refuse(std::string(200000, 'x'), "no zip end record");
}

}  // namespace
}  // namespace assay
