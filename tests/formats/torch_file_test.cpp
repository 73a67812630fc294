// Files that torch.save wrote (python/make_pt_goldens.py), and files that it would not write.
#include "formats/torch_file.h"

#include <gtest/gtest.h>

#include <map>

#include "base/expect_error.h"
#include "base/temporary_directory.h"
#include "base/widen.h"
#include "formats/array_file.h"
#include "formats/golden_arrays.h"
#include "formats/zip.h"

namespace assay {
namespace {

std::vector<double> values_of(const ArrayView& array) {
  std::vector<double> values(static_cast<std::size_t>(element_count(array.shape, array.name)));
  const auto item = static_cast<std::ptrdiff_t>(dtype_size(array.dtype));
  if (!values.empty()) widen(array.dtype, array.bytes.data(), item, std::span(values));
  return values;
}

std::vector<double> counting(std::size_t count) {
  std::vector<double> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<double>(i);
  return values;
}

void expect_array(const ArrayFile& file, const std::string& name, const Shape& shape,
                  const std::vector<double>& values) {
  SCOPED_TRACE(name);
  ASSERT_TRUE(file.contains(name));
  const LoadedArray array = file.load(name);
  EXPECT_EQ(array.view.name, name);
  EXPECT_EQ(array.view.shape, shape);
  EXPECT_EQ(file.form_of(name).shape, shape);
  EXPECT_EQ(file.form_of(name).dtype, array.view.dtype);
  EXPECT_EQ(values_of(array.view), values);
  EXPECT_GE(file.size_of(name), array.view.bytes.size());
}

// Names and elements of views.pt.
void expect_views(const ArrayFile& file) {
  expect_array(file, "base", {4, 6}, counting(24));
  std::vector<double> transposed;
  for (int column = 0; column < 6; ++column) {
    for (int row = 0; row < 4; ++row) transposed.push_back(6 * row + column);
  }
  expect_array(file, "transposed", {6, 4}, transposed);
  expect_array(file, "rows", {2, 6}, {6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17});
  expect_array(file, "columns", {4, 2}, {2, 3, 8, 9, 14, 15, 20, 21});
  expect_array(file, "every_second", {2, 3}, {1, 3, 5, 13, 15, 17});
  expect_array(file, "expanded", {3, 2}, {0, 1, 0, 1, 0, 1});
  std::vector<double> permuted;
  for (int k = 0; k < 4; ++k) {
    for (int ij = 0; ij < 6; ++ij) permuted.push_back(4 * ij + k);
  }
  expect_array(file, "permuted", {4, 2, 3}, permuted);
  expect_array(file, "scalar", {}, {15});
  expect_array(file, "empty", {0, 6}, {});
}

TEST(TorchFile, ReadsEveryType) {
  const ArrayFile file(golden("types.pt"));
  const std::map<std::string, DType> types = {{"float32", DType::kF32},
                                              {"float64", DType::kF64},
                                              {"float16", DType::kF16},
                                              {"bfloat16", DType::kBF16},
                                              {"float8_e4m3fn", DType::kF8E4M3},
                                              {"float8_e5m2", DType::kF8E5M2},
                                              {"int64", DType::kI64},
                                              {"int32", DType::kI32},
                                              {"int16", DType::kI16},
                                              {"int8", DType::kI8},
                                              {"uint8", DType::kU8},
                                              {"uint16", DType::kU16},
                                              {"uint32", DType::kU32},
                                              {"uint64", DType::kU64}};
  for (const auto& [name, dtype] : types) {
    expect_array(file, name, {2, 3}, counting(6));
    EXPECT_EQ(file.load(name).view.dtype, dtype);
  }
  expect_array(file, "bool", {3}, {0, 1, 1});
  EXPECT_EQ(file.load("bool").view.dtype, DType::kBool);
  expect_error(ErrorKind::kInput, {"types.pt", "'complex64'", "ComplexFloatStorage", "tensor.real"},
               [&] { file.load("complex64"); });
}

TEST(TorchFile, ReadsViewsByTheirStrides) {
  expect_views(ArrayFile(golden("views.pt")));
  expect_views(ArrayFile(golden("protocol5.pt")));
  EXPECT_TRUE(ArrayFile(golden("views.pt")).load("rows").view.mapped);
}

TEST(TorchFile, ReadsTheFormatFromBeforeTorch16) {
  const ArrayFile file(golden("legacy.pt"));
  expect_views(file);
  for (const char* name : {"float64", "bfloat16", "int16"}) {
    expect_array(file, name, {2, 3}, counting(6));
  }
}

TEST(TorchFile, JoinsTheNamesOfWhatIsNested) {
  const ArrayFile file(golden("containers.pt"));
  expect_array(file, "nested.deep.x", {2}, counting(2));
  expect_array(file, "nested.7", {3}, counting(3));
  expect_array(file, "list.0", {1}, counting(1));
  expect_array(file, "list.1.0", {2}, counting(2));
  expect_array(file, "list.1.2", {3}, counting(3));
  expect_array(file, "state.weight", {3, 2}, counting(6));
  expect_array(file, "state.bias", {3}, counting(3));
  expect_array(file, "parameter", {4}, counting(4));
  expect_array(file, "ordered.a", {2}, counting(2));
  expect_array(file, "tagged", {2}, counting(2));
  expect_array(file, "buffer", {5}, counting(5));
  expect_array(file, "größe", {1}, counting(1));
  EXPECT_EQ(file.names().size(), 12u);
  EXPECT_EQ(file.names().front(), "nested.deep.x");  // in the file's order
}

TEST(TorchFile, NamesWhatHasNoNameByTheFile) {
  expect_array(ArrayFile(golden("one_tensor.pt")), "one_tensor", {2, 3}, counting(6));
  const ArrayFile list(golden("list.pt"));
  expect_array(list, "list.0", {2}, counting(2));
  expect_array(list, "list.1", {3}, counting(3));
  expect_array(ArrayFile(golden("value_and_meta.pt")), "value_and_meta", {2}, counting(2));
}

TEST(TorchFile, TellsWhichTensorsAreNotBlocksOfNumbers) {
  const ArrayFile file(golden("other_tensors.pt"));
  expect_array(file, "good", {2}, counting(2));
  const std::map<std::string, std::string> advice = {{"sparse", "tensor.to_dense()"},
                                                     {"quantised", "tensor.dequantize()"},
                                                     {"meta", "tensors with values"},
                                                     {"negated", "tensor.resolve_neg()"},
                                                     {"float8_e8m0fnu", "tensor.float()"}};
  for (const auto& tensor : advice) {
    expect_error(ErrorKind::kInput,
                 {"other_tensors.pt: tensor '" + tensor.first + "'", tensor.second},
                 [&] { file.load(tensor.first); });
  }
}

TEST(TorchFile, RefusesPythonObjectsByName) {
  expect_error(ErrorKind::kInput, {"namespace.pt", "argparse.Namespace", "torch.save({'name'"},
               [] { ArrayFile(golden("namespace.pt")); });
  expect_error(ErrorKind::kInput, {"module.pt", "torch.nn.modules.linear.Linear", "state_dict()"},
               [] { ArrayFile(golden("module.pt")); });
}

// A zip archive of stored members.
std::string archive_of(const std::vector<std::pair<std::string, std::string>>& parts) {
  std::string text;
  std::vector<ZipMember> records;
  for (const auto& [name, bytes] : parts) {
    const ZipMember member{name, ZipMethod::kStored, 0, bytes.size(), bytes.size(), text.size()};
    text += zip_local_header(member) + bytes;
    records.push_back(member);
  }
  return text + zip_directory(records, text.size());
}

void open_archive(const std::string& pickle, const std::string& byte_order = "little") {
  const TemporaryDirectory directory;
  write_text(directory / "x.pt", archive_of({{"x/data.pkl", pickle}, {"x/byteorder", byte_order}}));
  ArrayFile(directory / "x.pt");
}

TEST(TorchFile, ExecutesNothing) {
  using namespace std::string_literals;
  // os.system("...") in protocols 0, 2 and 4.
  expect_error(ErrorKind::kInput, {"posix.system"},
               [] { open_archive("cposix\nsystem\n(S'true'\ntR."); });
  expect_error(ErrorKind::kInput, {"builtins.eval"},
               [] { open_archive("\x80\x02}X\x01\x00\x00\x00xcbuiltins\neval\n0s."s); });
  expect_error(ErrorKind::kInput, {"os.system"},
               [] { open_archive("\x80\x04\x8c\x02os\x8c\x06system\x93)R."s); });
}

TEST(TorchFile, RefusesWhatIsNotAPickle) {
  using namespace std::string_literals;
  for (const auto& refused : std::vector<std::pair<std::string, std::string>>{
           {"", "cut short"},
           {"\x80\x06.", "protocol 6"},
           {".", "empty stack"},
           {"(.", "empty stack"},
           {"NN.", "left over"},
           {"h\x05.", "memo 5"},
           {"i", "opcode 0x69"},
           {"N)R.", "a call of something"},
           {"X\xff\xff\xff\xff"s, "cut short"},
           {"]}b.", "attributes of an object"},
           {"(Nd.", "a key without a value"},
           {"\x95\xff\xff\xff\xff\xff\xff\xff\xff"s, "a frame"}}) {
    SCOPED_TRACE(refused.second);
    expect_error(ErrorKind::kInput, {"x.pt", refused.second}, [&] { open_archive(refused.first); });
  }
  // A list that contains itself.
  expect_error(ErrorKind::kInput, {"too deep"}, [] {
    open_archive(
        "]q\x01h\x01"
        "a."s);
  });
  expect_error(ErrorKind::kInput, {"no tensor"}, [] { open_archive("}."); });
  expect_error(ErrorKind::kInput, {"big-endian"}, [] { open_archive("}.", "big"); });
}

// A tensor of four FP32 elements: the numbers in its pickle may be anything.
std::string tensor_pickle(int offset, const std::string& sizes, const std::string& strides) {
  return "ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI4\n"
         "tQI" +
         std::to_string(offset) + "\n(" + sizes + "t(" + strides +
         "tI00\nccollections\nOrderedDict\n)RtR.";
}

TEST(TorchFile, KeepsTensorsInsideTheirStorage) {
  const TemporaryDirectory directory;
  const auto load = [&](int offset, const std::string& sizes, const std::string& strides) {
    write_text(directory / "x.pt",
               archive_of({{"x/data.pkl", tensor_pickle(offset, sizes, strides)},
                           {"x/data/0", std::string(16, '\0')}}));
    return ArrayFile(directory / "x.pt").load("x");
  };
  EXPECT_EQ(load(0, "I2\nI2\n", "I2\nI1\n").view.shape, (Shape{2, 2}));
  EXPECT_EQ(load(1, "I3\n", "I1\n").view.shape, (Shape{3}));
  for (const auto& [offset, sizes, strides] :
       std::vector<std::tuple<int, std::string, std::string>>{
           {1, "I2\nI2\n", "I2\nI1\n"},
           {4, "I1\n", "I1\n"},
           {0, "I5\n", "I1\n"},
           {0, "I2\n", "I4\n"},
           {0, "I3\n", "I9223372036854775807\n"}}) {
    SCOPED_TRACE(sizes + strides);
    expect_error(ErrorKind::kInput, {"x.pt", "within its storage of 4 elements"},
                 [&load, o = offset, &n = sizes, &s = strides] { load(o, n, s); });
  }
  expect_error(ErrorKind::kInput, {"negative"}, [&] { load(0, "I2\n", "I-1\n"); });
  expect_error(ErrorKind::kInput, {"a stride for each"}, [&] { load(0, "I2\n", ""); });
  // Expanded from one element to more than memory holds.
  expect_error(ErrorKind::kInput, {"tensor.contiguous()"},
               [&] { load(0, "I4611686018427387904\n", "I0\n"); });
}

TEST(TorchFile, RefusesOtherFilesByWhatTheyAre) {
  const TemporaryDirectory directory;
  write_text(directory / "x.pt", "something else");
  expect_error(ErrorKind::kInput, {"x.pt", "torch.save"}, [&] { ArrayFile(directory / "x.pt"); });
  const std::string whole = read_text(golden("views.pt"));
  write_text(directory / "x.pt", whole.substr(0, whole.size() / 2));
  expect_error(ErrorKind::kInput, {"x.pt", "cut short"}, [&] { ArrayFile(directory / "x.pt"); });
}

TEST(TorchFile, ReadsADirectoryAsSglangsDumperWritesIt) {
  const TemporaryDirectory directory;
  const auto copy = [&](const char* name) {
    std::filesystem::copy_file(golden("value_and_meta.pt"), directory / name);
  };
  copy("step=0___rank=0___dump_index=1___name=input_ids.pt");
  copy(
      "step=0___rank=0___dump_index=2___name=attn_out___recompute_status=disabled___layer_id=3.pt");
  copy(
      "step=1___rank=0___dump_index=3___name=attn_out___recompute_status=disabled___layer_id=3.pt");
  copy(
      "forward_pass_id=0___rank=0___name=non_intrusive__model.layers.7.mlp.output___"
      "dump_index=4___layer_id=7.pt");
  std::filesystem::copy_file(golden("namespace.pt"), directory / "config.pt");
  const ArrayFile file(directory.path());
  EXPECT_EQ(file.names(), (std::vector<std::string>{"config", "input_ids", "layers.3.attn_out",
                                                    "layers.3.attn_out___step=1___dump_index=3",
                                                    "model.layers.7.mlp.output"}));
  expect_array(file, "layers.3.attn_out", {2}, counting(2));
  expect_error(ErrorKind::kInput, {"argparse.Namespace"}, [&] { file.load("config"); });
}

TEST(TorchFile, NamesTheDictsOfADirectory) {
  const TemporaryDirectory directory;
  std::filesystem::copy_file(golden("views.pt"), directory / "layer_00.pt");
  EXPECT_TRUE(ArrayFile(directory.path()).contains("rows"));
  std::filesystem::copy_file(golden("views.pt"), directory / "layer_01.pt");
  std::filesystem::copy_file(golden("one_tensor.pt"), directory / "logits.pth");
  const ArrayFile two(directory.path());
  EXPECT_TRUE(two.contains("layer_00.rows"));
  EXPECT_TRUE(two.contains("layer_01.rows"));
  EXPECT_TRUE(two.contains("logits"));
  EXPECT_EQ(two.names().size(), 19u);
}

TEST(TorchFile, NamesTheForwardPassesOfSglangsHook) {
  const TemporaryDirectory directory;
  std::filesystem::copy_file(golden("views.pt"), directory / "Pass00002.pt");
  std::filesystem::copy_file(golden("views.pt"), directory / "Pass00010.pt");
  const ArrayFile file(directory.path());
  EXPECT_TRUE(file.contains("rows"));
  EXPECT_TRUE(file.contains("rows___step=10"));
}

}  // namespace
}  // namespace assay
