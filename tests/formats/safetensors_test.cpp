#include "formats/safetensors.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/expect_error.h"
#include "base/memory_file.h"
#include "base/temporary_directory.h"
#include "formats/golden_arrays.h"

namespace assay {
namespace {

std::string file_of(std::string_view header, std::string_view data = "") {
  std::string file(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) file[i] = static_cast<char>(header.size() >> (8 * i));
  return file.append(header).append(data);
}

// One tensor "w", with the given rest of its entry.
std::string entry(std::string_view fields, std::string_view data = "") {
  return file_of("{\"w\":{" + std::string(fields) + "}}", data);
}

std::string tensor(std::string_view name, int begin, int end) {
  return "\"" + std::string(name) + "\":{\"dtype\":\"U8\",\"shape\":[" +
         std::to_string(end - begin) + "],\"data_offsets\":[" + std::to_string(begin) + "," +
         std::to_string(end) + "]}";
}

void write_arrays(const std::filesystem::path& path, const std::vector<Array>& arrays) {
  std::vector<TensorInfo> infos;
  for (const Array& array : arrays) infos.push_back({array.name, array.dtype, array.shape});
  std::size_t next = 0;
  write_safetensors(path, infos, [&](const TensorInfo& info, ByteSink& sink) {
    const Array& array = arrays.at(next++);
    EXPECT_EQ(info.name, array.name);
    const std::span<const std::byte> bytes = array.bytes;
    const std::size_t half = bytes.size() / 2;
    sink.write(bytes.first(half));
    sink.write(bytes.subspan(half));
  });
}

void expect_equal(const ArrayView& found, const Array& expected) {
  EXPECT_EQ(found.name, expected.name);
  EXPECT_EQ(found.dtype, expected.dtype);
  EXPECT_EQ(found.shape, expected.shape);
  EXPECT_TRUE(std::ranges::equal(found.bytes, expected.bytes)) << expected.name;
}

// As python/make_npz_goldens.py makes them, sorted by name.
std::vector<Array> golden_tensors() {
  return {pattern("bf16", DType::kBF16, {2, 3}), pattern("bool", DType::kBool, {3}),
          pattern("f16", DType::kF16, {5}),      pattern("f32", DType::kF32, {2, 2}),
          pattern("f64", DType::kF64, {1}),      pattern("größe", DType::kF32, {1, 2}),
          pattern("i16", DType::kI16, {2}),      pattern("i32", DType::kI32, {3}),
          pattern("i64", DType::kI64, {2}),      pattern("i8", DType::kI8, {3}),
          pattern("scalar", DType::kF32, {}),    pattern("u8", DType::kU8, {1})};
}

// MLX writes "__metadata__": null, and the safetensors library reads it.
TEST(Safetensors, ReadsMetadataOfNothing) {
  const std::string text =
      file_of(R"({"__metadata__":null,"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "ab");
  const MemoryFile file(bytes_of(text));
  EXPECT_EQ(Weights::open_file(file.path()).tensors().size(), 1u);
}

TEST(Safetensors, ReadsWhatThePackageWrites) {
  const Weights weights = Weights::open_file(golden("package.safetensors"));
  const std::vector<Array> expected = golden_tensors();
  ASSERT_EQ(weights.tensors().size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    expect_equal(weights.tensors()[i], expected[i]);
    EXPECT_EQ(weights.find(expected[i].name), &weights.tensors()[i]);
    EXPECT_EQ(weights.file_of(expected[i].name), golden("package.safetensors"));
  }
  EXPECT_EQ(weights.total_bytes(), std::filesystem::file_size(golden("package.safetensors")));
}

TEST(Safetensors, WhatIsWrittenIsRead) {
  const TemporaryDirectory directory;
  std::vector<Array> arrays = golden_tensors();
  arrays.push_back(pattern("empty", DType::kF32, {4, 0}));
  arrays.push_back(pattern("\"quoted\\\n\"", DType::kBF16, {1}));
  std::ranges::reverse(arrays);
  write_arrays(directory / "model.safetensors", arrays);
  const std::string file = read_text(directory / "model.safetensors");
  EXPECT_EQ(static_cast<unsigned char>(file[0]) % 8, 0);
  EXPECT_TRUE(file.substr(8).starts_with(R"({"__metadata__":{"format":"pt"},)"));
  std::ranges::sort(arrays, {}, &Array::name);
  const Weights weights = Weights::open(directory.path());
  ASSERT_EQ(weights.tensors().size(), arrays.size());
  for (std::size_t i = 0; i < arrays.size(); ++i) expect_equal(weights.tensors()[i], arrays[i]);
}

TEST(Safetensors, AFileWithoutTensorsIsOne) {
  const TemporaryDirectory directory;
  write_arrays(directory / "x", {});
  EXPECT_TRUE(Weights::open_file(directory / "x").tensors().empty());
  write_text(directory / "x", file_of("{}"));
  EXPECT_TRUE(Weights::open_file(directory / "x").tensors().empty());
}

TEST(Safetensors, AFileCutAnywhereIsAnInputError) {
  const std::string whole = read_text(golden("package.safetensors"));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const MemoryFile file(bytes_of(whole).first(size));
    expect_error(ErrorKind::kInput, {file.path().string() + ": "},
                 [&] { Weights::open_file(file.path()); });
  }
  const MemoryFile longer(bytes_of(whole + "x"));
  expect_error(ErrorKind::kInput, {"1 bytes of data that belong to no tensor"},
               [&] { Weights::open_file(longer.path()); });
}

TEST(Safetensors, EveryLyingHeaderIsAnInputErrorThatSaysWhere) {
  const std::string max = "18446744073709551615";
  const struct {
    std::string file;
    std::string_view message;
  } cases[] = {
      {"", "0 bytes; expected a safetensors file"},
      {std::string(8, '\0'), "header: not valid JSON"},
      {std::string(8, '\xFF') + "{}", "header of 18446744073709551615 bytes in a file of 10"},
      {std::string("\0\0\0\0\1\0\0\0{}", 10), "header of 4294967296 bytes in a file of 10"},
      {std::string("\3\0\0\0\0\0\0\0{}", 10), "header of 3 bytes in a file of 10"},
      {file_of("[]"), "header: not a JSON object"},
      {file_of("{\"w\":"), "header: not valid JSON"},
      {file_of("{} x"), "header: not valid JSON"},
      {file_of("{\"w\xFF\":{}}"), "header: not valid JSON"},
      {file_of(std::string(5000, '[')), "header: not valid JSON"},
      {file_of("{\"w\":{\"a\":" + std::string(5000, '[') + std::string(5000, ']') + "}}"),
       "header: not valid JSON"},
      {file_of("{\"__metadata__\":[]}"), "field '__metadata__': not a JSON object"},
      {file_of("{\"__metadata__\":{\"n\":1}}"), "field '__metadata__': 'n' is not a string"},
      {file_of("{\"__metadata__\":{},\"__metadata__\":{}}"), "duplicate '__metadata__'"},
      {file_of("{\"w\":3}"), "tensor 'w': not a JSON object"},
      {file_of("{\"w\\n" + std::string(300, 'w') + "\":3}"), "tensor 'w\\nwww"},
      {entry(R"("shape":[],"data_offsets":[0,4])", "1234"), "tensor 'w': no string 'dtype'"},
      {entry(R"("dtype":1,"shape":[],"data_offsets":[0,4])", "1234"), "no string 'dtype'"},
      {entry(R"("dtype":"F32","data_offsets":[0,4])", "1234"), "no list 'shape'"},
      {entry(R"("dtype":"F32","shape":1,"data_offsets":[0,4])", "1234"), "no list 'shape'"},
      {entry(R"("dtype":"F32","shape":[])", "1234"), "no list 'data_offsets' of two"},
      {entry(R"("dtype":"F32","shape":[],"data_offsets":[0])", "1234"), "'data_offsets' of two"},
      {entry(R"("dtype":"F32","shape":[],"data_offsets":[0,4,8])", "1234"), "of two"},
      {entry(R"("dtype":"F32","dtype":"F16","shape":[],"data_offsets":[0,4])", "1234"),
       "tensor 'w': duplicate 'dtype'"},
      {entry(R"("dtype":"F8_E8M0","shape":[4],"data_offsets":[0,4])", "1234"),
       "dtype \"F8_E8M0\"; expected BF16, F16, F32"},
      {entry(R"("dtype":"f32","shape":[1],"data_offsets":[0,4])", "1234"), "dtype \"f32\""},
      {entry(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])", "1234"),
       "tensor 'w': shape with something that is not a size; expected non-negative integers"},
      {entry(R"("dtype":"F32","shape":[1.0],"data_offsets":[0,4])", "1234"), "that is not a size"},
      {entry(R"("dtype":"F32","shape":["1"],"data_offsets":[0,4])", "1234"), "that is not a size"},
      {entry(R"("dtype":"F32","shape":[)" + max + R"(],"data_offsets":[0,4])", "1234"),
       "that is not a size"},
      {entry(R"("dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4])", "1234"),
       "header: not valid JSON"},
      {entry(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4])", "1234"),
       "tensor 'w': shape [4294967296, 4294967296] has too many elements"},
      // 2^62 elements of 4 bytes: the product wraps to 0.
      {entry(R"("dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0])"),
       "tensor 'w': 0 bytes (data_offsets [0, 0]); expected 4611686018427387904 elements of F32"},
      {entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])", "1234"),
       "tensor 'w': 4 bytes (data_offsets [0, 4]); expected 2 elements of F32, shape [2]"},
      {entry(R"("dtype":"F32","shape":[1],"data_offsets":[0,5])", "12345"), "5 bytes"},
      {entry(R"("dtype":"F32","shape":[1],"data_offsets":[0,5])", "1234"),
       "data_offsets [0, 5]; expected begin <= end <= 4 (is the file cut short?)"},
      {entry(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])", "1234"), "begin <= end"},
      {entry(R"("dtype":"F32","shape":[1],"data_offsets":[-4,0])", "1234"), "not integers"},
      {entry(R"("dtype":"F32","shape":[1],"data_offsets":[0.5,4])", "1234"), "not integers"},
      {entry(R"("dtype":"F32","shape":[1],"data_offsets":[)" + max + "," + max + "]", "1234"),
       "expected begin <= end <= 4"},
      {file_of("{" + tensor("a", 0, 4) + "," + tensor("b", 2, 6) + "}", "123456"),
       "tensor 'b': begins at data offset 2, overlapping the one before; expected to begin at 4"},
      {file_of("{" + tensor("a", 0, 2) + "," + tensor("b", 3, 6) + "}", "123456"),
       "tensor 'b': begins at data offset 3, with a hole after the one before"},
      {file_of("{" + tensor("a", 1, 4) + "}", "1234"), "tensor 'a': begins at data offset 1"},
      {file_of("{" + tensor("a", 0, 3) + "}", "1234"), "1 bytes of data that belong to no tensor"},
      {file_of("{" + tensor("a", 0, 2) + "," + tensor("a", 2, 4) + "}", "1234"),
       "header: duplicate 'a'"},
      {entry(R"("dtype":"U8","shape":[)" +
                 [] {
                   std::string axes = "1";
                   for (int i = 0; i < 64; ++i) axes += ",1";
                   return axes;
                 }() +
                 R"(],"data_offsets":[0,1])",
             "1"),
       "tensor 'w': 65 axes; expected at most 64"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.message);
    const MemoryFile file(bytes_of(c.file));
    expect_error(ErrorKind::kInput, {file.path().string() + ": ", c.message},
                 [&] { Weights::open_file(file.path()); });
  }
}

TEST(Safetensors, AHeaderAbove100MBIsRefusedEvenWhereTheFileHoldsIt) {
  const TemporaryDirectory directory;
  const std::filesystem::path path = directory / "large.safetensors";
  write_text(path, std::string("\1\xE1\xF5\5\0\0\0\0", 8));  // 100,000,001
  std::filesystem::resize_file(path, 200'000'000);
  expect_error(ErrorKind::kInput, {"header of 100000001 bytes", "at most 100000000"},
               [&] { Weights::open_file(path); });
}

TEST(Safetensors, ATensorOfAnotherShapeOrDtypeOrNoneIsAnInputErrorThatNamesIt) {
  const Weights weights = Weights::open_file(golden("package.safetensors"));
  EXPECT_EQ(weights.get("bf16", Shape{2, 3}).name, "bf16");
  EXPECT_EQ(weights.get("f16", Shape{5}).name, "f16");
  EXPECT_EQ(weights.get("scalar", Shape{}).name, "scalar");
  expect_error(ErrorKind::kInput,
               {"package.safetensors: tensor 'bf16': shape [2, 3]; expected [3, 2]"}, [&] {
                 weights.get("bf16", Shape{3, 2});
               });
  expect_error(ErrorKind::kInput, {"tensor 'i32': dtype I32; expected BF16, F16 or F32"},
               [&] { weights.get("i32", Shape{3}); });
  expect_error(ErrorKind::kInput, {"tensor 'norm': missing; expected a tensor of shape [64]"},
               [&] { weights.get("norm", Shape{64}); });
  EXPECT_EQ(weights.find("norm"), nullptr);
}

// Two shards, "a" in the first, "b" in the second.
class Shards : public testing::Test {
 protected:
  Shards() {
    write_text(directory_ / "1.safetensors", file_of("{" + tensor("a", 0, 2) + "}", "aa"));
    write_text(directory_ / "2.safetensors", file_of("{" + tensor("b", 0, 2) + "}", "bb"));
    index(R"({"weight_map": {"b": "2.safetensors", "a": "1.safetensors"}})");
  }
  void index(std::string_view text) {
    write_text(directory_ / "model.safetensors.index.json", text);
  }
  void refuse(std::initializer_list<std::string_view> message) {
    expect_error(ErrorKind::kInput, message, [&] { Weights::open(directory_.path()); });
  }
  TemporaryDirectory directory_;
};

TEST_F(Shards, AreOneCheckpoint) {
  const Weights weights = Weights::open(directory_.path());
  ASSERT_EQ(weights.tensors().size(), 2u);
  EXPECT_EQ(weights.file_of("a"), directory_ / "1.safetensors");
  EXPECT_EQ(weights.file_of("b"), directory_ / "2.safetensors");
  EXPECT_TRUE(std::ranges::equal(weights.find("b")->bytes, bytes_of("bb")));
  EXPECT_EQ(weights.files().size(), 2u);
}

TEST_F(Shards, MayBeLinks) {
  std::filesystem::create_directory(directory_ / "blobs");
  std::filesystem::rename(directory_ / "2.safetensors", directory_ / "blobs/2");
  std::filesystem::create_symlink("blobs/2", directory_ / "2.safetensors");
  EXPECT_EQ(Weights::open(directory_.path()).tensors().size(), 2u);
}

TEST_F(Shards, TheSingleFileWins) {
  write_text(directory_ / "model.safetensors", file_of("{" + tensor("c", 0, 1) + "}", "c"));
  const Weights weights = Weights::open(directory_.path());
  ASSERT_EQ(weights.tensors().size(), 1u);
  EXPECT_EQ(weights.tensors()[0].name, "c");
}

TEST_F(Shards, AMissingShardOrTensorIsAnInputErrorThatNamesIt) {
  index(R"({"weight_map": {"a": "1.safetensors", "b": "3.safetensors"}})");
  refuse({"3.safetensors: no such file; expected the shard that", "index.json names"});
  index(R"({"weight_map": {"a": "1.safetensors", "b": "1.safetensors"}})");
  refuse({"1.safetensors: tensor 'b': missing; expected the tensor that", "puts there"});
  index(R"({"weight_map": {"a": "2.safetensors", "b": "1.safetensors"}})");
  refuse({"tensor 'a': missing"});
}

TEST_F(Shards, ATensorInTwoShardsIsAnInputErrorThatNamesBoth) {
  write_text(directory_ / "2.safetensors",
             file_of("{" + tensor("a", 0, 2) + "," + tensor("b", 2, 4) + "}", "aabb"));
  refuse({"tensor 'a': is also in", "1.safetensors", "2.safetensors"});
}

TEST_F(Shards, ABrokenShardIsAnInputErrorThatNamesIt) {
  write_text(directory_ / "2.safetensors", "short");
  refuse({"2.safetensors: 5 bytes"});
}

TEST_F(Shards, NamesThatLeadElsewhereAreRefused) {
  for (const char* name : {"../1.safetensors", "/etc/passwd", "sub/1.safetensors", "..", ".", "",
                           "1.safetensors/", "a\\\\b", "1.safetensors\\u0000x"}) {
    index(R"({"weight_map": {"a": ")" + std::string(name) + "\"}}");
    refuse({"index.json: field 'weight_map': \"", "for tensor 'a'; expected the name of a file"});
  }
  index(R"({"weight_map": {"a": 3}})");
  refuse({"3 for tensor 'a'"});
}

TEST_F(Shards, ABrokenIndexIsAnInputError) {
  for (const char* text : {"", "{", "{\"weight_map\": {\"a\""}) {
    index(text);
    refuse({"index.json: not valid JSON", "is the file cut short?"});
  }
  index("[]");
  refuse({"index.json: not a JSON object"});
  for (const char* text : {"{}", "{\"weight_map\": []}", "{\"weight_map\": {}}"}) {
    index(text);
    refuse({"field 'weight_map': missing or empty"});
  }
  index(R"({"weight_map": {"a": "1.safetensors", "a": "2.safetensors"}})");
  refuse({"duplicate 'a'"});
}

TEST(Safetensors, ADirectoryWithoutWeightsIsAnInputErrorThatSaysWhatBelongsThere) {
  const TemporaryDirectory directory;
  const auto refuse = [](const std::filesystem::path& path, std::string_view message) {
    expect_error(ErrorKind::kInput, {message}, [&] { Weights::open(path); });
  };
  refuse(directory.path(), "no weights; expected model.safetensors or model.safetensors.index");
  refuse(directory / "absent", "absent: no weights");
  refuse(directory / std::string(300, 'x'), "File name too long");
  std::filesystem::create_symlink("model.safetensors", directory / "model.safetensors");
  refuse(directory.path(), "model.safetensors: cannot open: Too many levels of symbolic links");
}

TEST(SafetensorsWriter, TensorsThatDoNotFitAreInputErrorsAndLeaveNothing) {
  const TemporaryDirectory directory;
  const auto refuse = [&](const std::vector<TensorInfo>& tensors, std::string_view message) {
    expect_error(ErrorKind::kInput, {"x.safetensors: tensor '", message}, [&] {
      write_safetensors(directory / "x.safetensors", tensors,
                        [](const TensorInfo&, ByteSink& sink) { sink.write(bytes_of("1234")); });
    });
    EXPECT_TRUE(directory.names().empty());
  };
  const TensorInfo good{"good", DType::kF32, {1}};
  refuse({good, good}, "tensor 'good': given twice");
  refuse({{"__metadata__", DType::kF32, {1}}}, "given twice");
  refuse({{"\xFF", DType::kF32, {1}}}, "a name that is not UTF-8");
  refuse({{"short", DType::kF32, {2}}}, "tensor 'short': 4 bytes given; expected 8");
  refuse({{"long", DType::kU8, {3}}}, "tensor 'long': 4 bytes given; expected 3");
  refuse({{"wraps", DType::kF64, {std::int64_t{1} << 61}}}, "at most 2^48 elements");
}

}  // namespace
}  // namespace assay
