#include "formats/gguf.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>

#include "base/expect_error.h"
#include "base/memory_file.h"
#include "base/temporary_directory.h"
#include "formats/array_file.h"
#include "formats/gguf_builder.h"
#include "formats/gguf_parts.h"
#include "formats/golden_arrays.h"

namespace assay {
namespace {

void expect_refused(const std::string& bytes, std::initializer_list<std::string_view> parts) {
  const MemoryFile file(std::as_bytes(std::span(bytes)));
  expect_error(ErrorKind::kInput, parts, [&] { GgufFile gguf(file.path()); });
}

// python/make_gguf_goldens.py
TEST(Gguf, ReadsWhatTheGgufPackageWrites) {
  const GgufFile file(golden("gguf_metadata.gguf"));
  EXPECT_EQ(file.string("general.architecture"), "llama");
  EXPECT_EQ(file.integer("general.alignment"), 64);
  for (const char* key : {"uint8", "uint16", "uint32", "uint64"}) {
    EXPECT_EQ(file.integer(key), 200) << key;
  }
  for (const char* key : {"int8", "int16", "int32", "int64"}) {
    EXPECT_EQ(file.number(key), -100) << key;
  }
  EXPECT_EQ(file.number("float32"), 1e-6);  // the decimal number, not the nearest float
  EXPECT_EQ(file.number("float64"), 1e-6);
  EXPECT_TRUE(file.boolean("bool", false));
  EXPECT_EQ(file.string("string"), "größe");
  const std::vector<std::string_view> strings = {"a", "", "größe"};
  EXPECT_TRUE(std::ranges::equal(file.strings("strings"), strings));
  EXPECT_EQ(file.numbers("integers"), (std::vector<double>{1, -2, 3}));
  EXPECT_EQ(file.numbers("floats"), (std::vector<double>{0.5, 0.1}));
  EXPECT_EQ(file.numbers("bools"), (std::vector<double>{1, 0}));
  ASSERT_EQ(file.tensors().size(), 2u);
  const GgufTensor* tensor = file.find("b");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->shape, (Shape{2, 3}));
  std::vector<float> values(6);
  dequantize(tensor->type, tensor->bytes, values);
  EXPECT_EQ(values, (std::vector<float>{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(file.find("c"), nullptr);
}

TEST(Gguf, VersionsTwoAndThreeAreRead) {
  const GgufBuilder builder = GgufBuilder().u32("x", 5).counting("w", {2, 4});
  for (const std::uint32_t version : {2u, 3u}) {
    const std::string bytes = builder.bytes(version);
    const MemoryFile file(std::as_bytes(std::span(bytes)));
    EXPECT_EQ(GgufFile(file.path()).integer("x"), 5);
  }
  expect_refused(builder.bytes(1), {"GGUF version 1", "2 or 3"});
  expect_refused(builder.bytes(3u << 24), {"big-endian"});
  expect_refused("GGML" + builder.bytes(3).substr(4), {"no \"GGUF\""});
}

TEST(Gguf, EveryPrefixIsRefused) {
  const std::string bytes =
      GgufBuilder().texts("t", {"a", "bc"}).u32("x", 5).counting("w", {2, 4}).bytes();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const std::string cut = bytes.substr(0, size);
    const MemoryFile file(std::as_bytes(std::span(cut)));
    EXPECT_THROW(GgufFile gguf(file.path()), Error) << size;
  }
}

TEST(Gguf, ValuesThatAreNotWhatIsAskedForAreNamed) {
  const std::string bytes = GgufBuilder()
                                .text("s", "x")
                                .u32("big", 1u << 31)
                                .f32("nan", std::numeric_limits<float>::quiet_NaN())
                                .bytes();
  const MemoryFile memory(std::as_bytes(std::span(bytes)));
  const GgufFile file(memory.path());
  expect_error(ErrorKind::kInput, {"key 'none'", "missing"}, [&] { file.string("none"); });
  expect_error(ErrorKind::kInput, {"key 's'", "not a number"}, [&] { file.integer("s"); });
  expect_error(ErrorKind::kInput, {"key 'big'", "2147483648"}, [&] { file.integer("big"); });
  expect_error(ErrorKind::kInput, {"key 'big'", "not a string"}, [&] { file.string("big"); });
  expect_error(ErrorKind::kInput, {"key 'nan'", "finite"}, [&] { file.number("nan"); });
  expect_error(ErrorKind::kInput, {"key 's'", "list of strings"}, [&] { file.strings("s"); });
  expect_error(ErrorKind::kInput, {"key 's'", "truth"}, [&] { file.boolean("s", true); });
  EXPECT_TRUE(file.strings("none").empty());
  EXPECT_EQ(file.integer("none", 7), 7);
}

TEST(Gguf, LyingFilesAreRefused) {
  const auto number = [](auto value) { return GgufBuilder::number(value); };
  expect_refused(GgufBuilder().raw("k", 13, "").bytes(), {"key 'k'", "value type 13"});
  expect_refused(GgufBuilder().raw("k", 7, "\2").bytes(), {"key 'k'", "truth value 2"});
  expect_refused(GgufBuilder().u32("k", 1).u32("k", 2).bytes(), {"key 'k'", "given twice"});
  expect_refused(
      GgufBuilder().raw("k", 9, number(std::uint32_t{9}) + number(std::uint64_t{1})).bytes(),
      {"key 'k'", "a list of value type 9"});
  expect_refused(
      GgufBuilder().raw("k", 9, number(std::uint32_t{6}) + number(~std::uint64_t{0} / 2)).bytes(),
      {"key 'k'"});
  expect_refused(
      GgufBuilder().raw("k", 9, number(std::uint32_t{8}) + number(~std::uint64_t{0})).bytes(),
      {"key 'k'", "cut short"});
  expect_refused(GgufBuilder().raw("k", 8, number(~std::uint64_t{0})).bytes(),
                 {"key 'k'", "cut short"});
  expect_refused(GgufBuilder().u32("general.alignment", 48).bytes(), {"general.alignment", "48"});
  expect_refused(GgufBuilder().info("w", {}, 0, 0).bytes(), {"tensor 'w'", "0 axes"});
  expect_refused(GgufBuilder().info("w", {1, 1, 1, 1, 1}, 0, 0).bytes(), {"tensor 'w'", "5 axes"});
  expect_refused(GgufBuilder().info("w", {0}, 0, 0).bytes(), {"tensor 'w'", "an axis of 0"});
  expect_refused(GgufBuilder().info("w", {1}, 40, 0).data("1234").bytes(),
                 {"tensor 'w'", "NVFP4", "Q4_K"});
  expect_refused(GgufBuilder().info("w", {48}, 8, 0).data(std::string(64, 'x')).bytes(),
                 {"tensor 'w'", "rows of 48 in Q8_0", "multiple of 32"});
  expect_refused(GgufBuilder().info("w", {1}, 0, 4).data(std::string(64, 'x')).bytes(),
                 {"tensor 'w'", "offset 4", "alignment"});
  expect_refused(GgufBuilder().info("w", {1}, 0, 64).data(std::string(64, 'x')).bytes(),
                 {"tensor 'w'", "cut short"});
  expect_refused(GgufBuilder().info("w", {1ull << 61, 4}, 0, 0).bytes(), {"tensor 'w'"});
  expect_refused(GgufBuilder().info("w", {1ull << 40}, 0, 0).bytes(), {"tensor 'w'", "cut short"});
  expect_refused(GgufBuilder().counting("w", {1}).counting("w", {1}).bytes(),
                 {"tensor 'w'", "given twice"});
  expect_refused(
      GgufBuilder().info("a", {16}, 0, 0).info("b", {4}, 0, 32).data(std::string(64, 'x')).bytes(),
      {"tensor 'b'", "overlaps tensor 'a'"});
}

TEST(GgufParts, ASplitFileIsOne) {
  const TemporaryDirectory directory;
  const auto part = [](std::uint32_t number, const char* tensor) {
    return GgufBuilder()
        .u32("split.no", number)
        .u32("split.count", 2)
        .u32("split.tensors.count", 2)
        .counting(tensor, {3})
        .bytes();
  };
  const auto first = directory / "m-00001-of-00002.gguf";
  const auto second = directory / "m-00002-of-00002.gguf";
  write_text(first, part(0, "a"));
  expect_error(ErrorKind::kInput, {"m-00002-of-00002.gguf"}, [&] { GgufParts parts(first); });
  write_text(second, part(1, "b"));
  const GgufParts parts(first);
  EXPECT_EQ(parts.files().size(), 2u);
  EXPECT_NE(parts.find("a"), nullptr);
  EXPECT_NE(parts.find("b"), nullptr);
  EXPECT_EQ(gguf_file_of(directory.path()), first);
  EXPECT_EQ(gguf_file_of(second), second);
  expect_error(ErrorKind::kInput, {"part 2 of 2", "the first part"},
               [&] { GgufParts opened(second); });
  write_text(second, part(1, "a"));
  expect_error(ErrorKind::kInput, {"tensor 'a'", "another part"}, [&] { GgufParts opened(first); });
  write_text(second, part(0, "b"));
  expect_error(ErrorKind::kInput, {"part 1 of 2", "part 2 of 2"}, [&] { GgufParts opened(first); });
}

TEST(GgufParts, ADirectoryIsAFileWhereThatIsAllItHas) {
  const TemporaryDirectory directory;
  EXPECT_EQ(gguf_file_of(directory.path()), std::nullopt);
  write_text(directory / "a.gguf", "");
  write_text(directory / "config.json", "{}");
  EXPECT_EQ(gguf_file_of(directory.path()), directory / "a.gguf");
  write_text(directory / "b.gguf", "");
  expect_error(ErrorKind::kInput, {"2 .gguf files", "one"},
               [&] { gguf_file_of(directory.path()); });
  write_text(directory / "model.safetensors", "");
  EXPECT_EQ(gguf_file_of(directory.path()), std::nullopt);
}

TEST(ArrayFile, ShowsWhatQuantisedTensorsStandFor) {
  const ArrayFile file(golden("gguf_types.gguf"));
  const LoadedArray q4 = file.load("Q4_K");
  EXPECT_EQ(q4.view.dtype, DType::kF32);
  EXPECT_EQ(q4.view.shape, (Shape{2, 256}));
  EXPECT_EQ(file.size_of("Q4_K"), 2u * 256 * 4);
  EXPECT_EQ(file.load("F16").view.dtype, DType::kF16);
  EXPECT_TRUE(file.load("BF16").view.mapped);
}

}  // namespace
}  // namespace assay
