#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/expect_error.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "base/temporary_directory.h"

namespace assay {
namespace {

TEST(Sha256, KnownAnswers) {
  EXPECT_EQ(sha256_hex({}), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex(bytes_of("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, AFileHasTheHashOfItsBytes) {
  const TemporaryDirectory directory;
  for (const std::size_t size : {0u, 1u, 1048576u, 3000001u}) {
    const std::string text(size, 'x');
    write_text(directory / "file", text);
    EXPECT_EQ(sha256_file(directory / "file"), sha256_hex(bytes_of(text)));
  }
  expect_error(ErrorKind::kInput, {"absent: cannot open: No such file"},
               [&] { sha256_file(directory / "absent"); });
  expect_error(ErrorKind::kInput, {"a directory; expected a file"},
               [&] { sha256_file(directory.path()); });
}

TEST(MappedFile, ShowsTheBytesAndMoves) {
  const TemporaryDirectory directory;
  write_text(directory / "file", "contents");
  write_text(directory / "empty", "");
  MappedFile file(directory / "file");
  MappedFile moved(std::move(file));
  EXPECT_TRUE(std::ranges::equal(moved.bytes(), bytes_of("contents")));
  moved = MappedFile(directory / "empty");
  EXPECT_TRUE(moved.bytes().empty());
}

TEST(MappedFile, ANonFileIsAnInputError) {
  const TemporaryDirectory directory;
  expect_error(ErrorKind::kInput, {"absent: cannot open: No such file", "expected a readable file"},
               [&] { MappedFile file(directory / "absent"); });
  expect_error(ErrorKind::kInput, {"a directory; expected a file"},
               [&] { MappedFile file(directory.path()); });
  ASSERT_EQ(::mkfifo((directory / "pipe").c_str(), 0600), 0);
  expect_error(ErrorKind::kInput, {"pipe: not a regular file"},
               [&] { MappedFile file(directory / "pipe"); });
}

}  // namespace
}  // namespace assay
