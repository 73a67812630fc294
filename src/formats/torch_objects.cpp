#include "formats/torch_objects.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <utility>

#include "assay/error.h"
#include "base/sizes.h"
#include "base/text.h"

namespace assay {
namespace {

using Kind = Pickle::Kind;
using Value = Pickle::Value;

// Real dumps stay within these limits; a cyclic object does not.
constexpr int kMaxNesting = 64;
constexpr std::size_t kMaxVisits = std::size_t{1} << 22;

template <class T, std::size_t N>
using Names = std::array<std::pair<std::string_view, T>, N>;

template <class Table>
auto find(const Table& table, std::string_view name) {
  const auto found =
      std::ranges::find(table, name, [](const auto& row) -> std::string_view { return row.first; });
  return found == table.end() ? nullptr : &*found;
}

constexpr std::string_view kTensorV1 = "torch._utils._rebuild_tensor";
constexpr std::string_view kTensorV2 = "torch._utils._rebuild_tensor_v2";
constexpr std::string_view kTensorV3 = "torch._utils._rebuild_tensor_v3";
constexpr std::string_view kParameter = "torch._utils._rebuild_parameter";
constexpr std::string_view kParameterWithState = "torch._utils._rebuild_parameter_with_state";
constexpr std::string_view kTensorWithState = "torch._tensor._rebuild_from_type_v2";

constexpr Names<DType, 10> kStorages = {{{"FloatStorage", DType::kF32},
                                         {"DoubleStorage", DType::kF64},
                                         {"HalfStorage", DType::kF16},
                                         {"BFloat16Storage", DType::kBF16},
                                         {"LongStorage", DType::kI64},
                                         {"IntStorage", DType::kI32},
                                         {"ShortStorage", DType::kI16},
                                         {"CharStorage", DType::kI8},
                                         {"ByteStorage", DType::kU8},
                                         {"BoolStorage", DType::kBool}}};
// Storages of types that Assay does not read, with the bytes of an element.
constexpr Names<std::size_t, 7> kOtherStorages = {{{"ComplexFloatStorage", 8},
                                                   {"ComplexDoubleStorage", 16},
                                                   {"QInt8Storage", 1},
                                                   {"QInt32Storage", 4},
                                                   {"QUInt8Storage", 1},
                                                   {"QUInt4x2Storage", 1},
                                                   {"QUInt2x4Storage", 1}}};
constexpr std::string_view kUntyped = "UntypedStorage";

constexpr Names<DType, 15> kTorchDTypes = {{{"torch.float32", DType::kF32},
                                            {"torch.float64", DType::kF64},
                                            {"torch.float16", DType::kF16},
                                            {"torch.bfloat16", DType::kBF16},
                                            {"torch.float8_e4m3fn", DType::kF8E4M3},
                                            {"torch.float8_e5m2", DType::kF8E5M2},
                                            {"torch.int64", DType::kI64},
                                            {"torch.int32", DType::kI32},
                                            {"torch.int16", DType::kI16},
                                            {"torch.int8", DType::kI8},
                                            {"torch.uint8", DType::kU8},
                                            {"torch.uint16", DType::kU16},
                                            {"torch.uint32", DType::kU32},
                                            {"torch.uint64", DType::kU64},
                                            {"torch.bool", DType::kBool}}};
constexpr std::array<std::string_view, 15> kOtherDTypes = {"torch.complex32",
                                                           "torch.complex64",
                                                           "torch.complex128",
                                                           "torch.float8_e4m3fnuz",
                                                           "torch.float8_e5m2fnuz",
                                                           "torch.float8_e8m0fnu",
                                                           "torch.qint8",
                                                           "torch.quint8",
                                                           "torch.qint32",
                                                           "torch.quint4x2",
                                                           "torch.float4_e2m1fn_x2",
                                                           "torch.per_tensor_affine",
                                                           "torch.strided",
                                                           "torch.per_channel_affine",
                                                           "torch.sparse_coo"};

// Tensors that are not plain blocks of numbers, and what to save instead.
struct OtherTensor {
  std::string_view kind;
  std::string_view advice;
};
constexpr Names<OtherTensor, 4> kOtherTensors = {
    {{"torch._utils._rebuild_sparse_tensor", {"a sparse tensor", "tensor.to_dense()"}},
     {"torch._utils._rebuild_qtensor", {"a quantised tensor", "tensor.dequantize()"}},
     {"torch._utils._rebuild_nested_tensor", {"a nested tensor", "its parts, tensor.unbind()"}},
     {"torch._utils._rebuild_meta_tensor_no_storage",
      {"a meta tensor, which has no values", "tensors with values"}}}};

// Objects that may occur next to tensors and are ignored.
constexpr std::array<std::string_view, 16> kIgnored = {"collections.OrderedDict",
                                                       "collections.Counter",
                                                       "torch.Size",
                                                       "torch.device",
                                                       "torch.Tensor",
                                                       "torch.nn.parameter.Parameter",
                                                       "torch.nn.parameter.Buffer",
                                                       "torch.serialization._get_layout",
                                                       "_codecs.encode",
                                                       "builtins.bytes",
                                                       "builtins.bytearray",
                                                       "builtins.set",
                                                       "builtins.frozenset",
                                                       "__builtin__.bytearray",
                                                       "__builtin__.set",
                                                       "__builtin__.frozenset"};

// "torch.FloatStorage" -> "FloatStorage"; empty when the name is not a storage's.
std::string_view storage_name(std::string_view name) {
  for (const std::string_view module : {"torch.cuda.", "torch.storage.", "torch."}) {
    if (!name.starts_with(module)) continue;
    name.remove_prefix(module.size());
    const bool known = find(kStorages, name) != nullptr || find(kOtherStorages, name) != nullptr ||
                       name == kUntyped;
    return known ? name : std::string_view();
  }
  return {};
}

class Objects {
 public:
  Objects(const Pickle& pickle, std::string_view where) : pickle_(pickle), where_(where) {}

  TorchObjects read() {
    const Value* root = &pickle_.root();
    // SGLang's dumper: {"value": tensor, "meta": {...}}.
    const Value* value = nullptr;
    bool has_meta = false;
    if (root->kind == Kind::kDict && root->items.size() == 4) {
      for (std::size_t i = 0; i < 4; i += 2) {
        const std::string& key = pickle_.at(root->items[i]).text;
        if (key == "value") value = &pickle_.at(root->items[i + 1]);
        has_meta = has_meta || key == "meta";
      }
    }
    if (value != nullptr && has_meta) {
      visit(*value, "", 0);
    } else {
      visit(*root, "", 0);
      result_.is_dict = root->kind == Kind::kDict;
    }
    return std::move(result_);
  }

 private:
  [[noreturn]] void fail(std::string_view name, std::string_view found,
                         std::string_view expected) const {
    throw input_error(
        name.empty() ? std::string(where_) : fmt::format("{}: '{}'", where_, shown(name)), found,
        expected);
  }

  void visit(const Value& value, const std::string& name, int depth) {
    if (depth > kMaxNesting || ++visits_ > kMaxVisits) {
      fail(name, "dicts and lists too deep or too many", "the tensors by name");
    }
    if (value.kind == Kind::kCall) return add(value, name);
    if (value.kind == Kind::kDict) {
      for (std::size_t i = 0; i + 1 < value.items.size(); i += 2) {
        const Value& item = pickle_.at(value.items[i + 1]);
        if (!may_hold_tensors(item)) continue;
        visit(item, joined(name, key_of(pickle_.at(value.items[i]), name, 0)), depth + 1);
      }
    } else if (value.kind == Kind::kList || value.kind == Kind::kTuple) {
      for (std::size_t i = 0; i < value.items.size(); ++i) {
        const Value& item = pickle_.at(value.items[i]);
        if (may_hold_tensors(item)) visit(item, joined(name, std::to_string(i)), depth + 1);
      }
    }
  }

  static bool may_hold_tensors(const Value& value) {
    return value.kind == Kind::kCall || value.kind == Kind::kDict || value.kind == Kind::kList ||
           value.kind == Kind::kTuple;
  }

  static std::string joined(const std::string& name, const std::string& key) {
    return name.empty() ? key : name + "." + key;
  }

  std::string key_of(const Value& key, std::string_view name, int depth) const {
    switch (key.kind) {
      case Kind::kText:
        if (!simdjson::validate_utf8(key.text.data(), key.text.size())) break;
        return key.text;
      case Kind::kInt:
      case Kind::kBool:
        return std::to_string(key.integer);
      case Kind::kTuple: {
        if (depth > 0) break;
        std::string text;
        for (const Pickle::Index part : key.items) {
          text = joined(text, key_of(pickle_.at(part), name, depth + 1));
        }
        return text;
      }
      default:
        break;
    }
    fail(name, "a key that is neither a text nor a number", "names for the tensors");
  }

  void add(const Value& call, const std::string& name) {
    std::optional<TorchFile::Tensor> tensor = tensor_of(call, name, 0);
    if (!tensor) return;
    if (!names_.insert(name).second) fail(name, "two tensors with this name", "every name once");
    tensor->name = name;
    result_.tensors.push_back(std::move(*tensor));
  }

  // None when the call does not make a tensor.
  std::optional<TorchFile::Tensor> tensor_of(const Value& call, std::string_view name, int depth) {
    if (call.kind != Kind::kCall || depth > 4) fail(name, "not a tensor", "a tensor");
    return tensor_of(pickle_.at(call.items[0]), pickle_.at(call.items[1]), name, depth);
  }
  std::optional<TorchFile::Tensor> tensor_of(const Value& callee, const Value& arguments,
                                             std::string_view name, int depth) {
    if (callee.kind != Kind::kName || arguments.kind != Kind::kTuple)
      fail(name, "not a tensor", "a tensor");
    const std::string_view function = callee.text;
    const auto argument = [&](std::size_t i) -> const Value& {
      if (i < arguments.items.size()) return pickle_.at(arguments.items[i]);
      fail(name, fmt::format("{} with {} arguments", function, arguments.items.size()), "more");
    };
    if (function == kParameter || function == kParameterWithState) {
      return tensor_of(argument(0), name, depth + 1);
    }
    if (function == kTensorWithState) {
      if (depth > 4) fail(name, "not a tensor", "a tensor");
      return tensor_of(argument(0), argument(2), name, depth + 1);
    }
    if (const auto* other = find(kOtherTensors, function)) {
      TorchFile::Tensor tensor;
      tensor.found = other->second.kind;
      tensor.expected = fmt::format("numbers in a block: save {}", other->second.advice);
      return tensor;
    }
    if (function != kTensorV1 && function != kTensorV2 && function != kTensorV3) {
      return std::nullopt;
    }
    TorchFile::Tensor tensor;
    read_storage(argument(0), name, tensor);
    tensor.offset = size_of(argument(1), name);
    tensor.shape = sizes_of(argument(2), name);
    tensor.strides = sizes_of(argument(3), name);
    if (tensor.shape.size() != tensor.strides.size()) {
      fail(name, fmt::format("{} axes, {} strides", tensor.shape.size(), tensor.strides.size()),
           "a stride for each axis");
    }
    const bool has_dtype = function == kTensorV3;
    if (has_dtype) read_dtype(argument(6), name, tensor);
    if (const std::size_t at = has_dtype ? 7 : 6; arguments.items.size() > at) {
      check_lazy_bits(argument(at), tensor);
    }
    return tensor;
  }

  std::int64_t size_of(const Value& value, std::string_view name) const {
    if (value.kind != Kind::kInt || value.integer < 0) {
      fail(name, "a size, stride or offset that is not a number or is negative", "numbers from 0");
    }
    return value.integer;
  }
  std::vector<std::int64_t> sizes_of(const Value& value, std::string_view name) const {
    // torch.Size((2, 3)) or (2, 3)
    const Value* tuple = &value;
    if (value.kind == Kind::kCall) {
      const Value& arguments = pickle_.at(value.items[1]);
      if (arguments.items.size() == 1) tuple = &pickle_.at(arguments.items[0]);
    }
    if (tuple->kind != Kind::kTuple && tuple->kind != Kind::kList) {
      fail(name, "no shape", "a tuple of sizes");
    }
    if (tuple->items.size() > kMaxAxes) {
      fail(name, fmt::format("{} axes", tuple->items.size()), fmt::format("at most {}", kMaxAxes));
    }
    std::vector<std::int64_t> sizes;
    for (const Pickle::Index item : tuple->items) sizes.push_back(size_of(pickle_.at(item), name));
    return sizes;
  }

  // ("storage", type, key, device, elements), and in old files a view of another storage, or None.
  void read_storage(const Value& value, std::string_view name, TorchFile::Tensor& tensor) const {
    const Value* id = value.kind == Kind::kPersistent ? &pickle_.at(value.items[0]) : nullptr;
    if (id == nullptr || id->kind != Kind::kTuple || id->items.size() < 5) {
      fail(name, "no storage", "the storage of a tensor");
    }
    const auto part = [&](std::size_t i) -> const Value& { return pickle_.at(id->items[i]); };
    const std::string_view type = storage_name(part(1).text);
    if (part(0).text != "storage" || part(1).kind != Kind::kName || type.empty() ||
        part(2).kind != Kind::kText) {
      fail(name, "no storage", "a storage's type and key");
    }
    tensor.storage.key = part(2).text;
    tensor.storage.elements = static_cast<std::uint64_t>(size_of(part(4), name));
    if (const auto* known = find(kStorages, type)) {
      tensor.dtype = known->second;
      tensor.storage.item = dtype_size(known->second);
    } else if (const auto* other = find(kOtherStorages, type)) {
      tensor.storage.item = other->second;
      refuse_type(type, tensor);
    } else {
      tensor.dtype = DType::kU8;
    }
    if (id->items.size() > 5 && part(5).kind != Kind::kNone) {
      tensor.found = "a view of a storage, as torch wrote it before 0.4";
      tensor.expected = "a file saved by a newer torch";
    }
  }

  void read_dtype(const Value& value, std::string_view name, TorchFile::Tensor& tensor) const {
    if (value.kind != Kind::kName) fail(name, "no dtype", "a dtype such as torch.bfloat16");
    if (const auto* known = find(kTorchDTypes, value.text)) {
      tensor.dtype = known->second;
    } else {
      refuse_type(value.text, tensor);
    }
  }

  static void refuse_type(std::string_view type, TorchFile::Tensor& tensor) {
    tensor.found = shown(type);
    if (type.find("omplex") != type.npos) {
      tensor.expected = "real numbers: save tensor.real and tensor.imag";
    } else {
      tensor.expected =
          "float8_e4m3fn, float8_e5m2, float16, bfloat16, float32, float64, bool or an "
          "integer: save tensor.float()";
    }
  }

  // {"conj": True} or {"neg": True}: the values must be conjugated or negated when they are read.
  void check_lazy_bits(const Value& metadata, TorchFile::Tensor& tensor) const {
    if (metadata.kind != Kind::kDict) return;
    for (std::size_t i = 0; i + 1 < metadata.items.size(); i += 2) {
      if (pickle_.at(metadata.items[i + 1]).integer == 0 || !tensor.found.empty()) continue;
      tensor.found = "a tensor with a pending negation or conjugation";
      tensor.expected = "its values: save tensor.resolve_neg() or tensor.resolve_conj()";
    }
  }

  const Pickle& pickle_;
  std::string_view where_;
  TorchObjects result_;
  std::set<std::string> names_;
  std::size_t visits_ = 0;
};

}  // namespace

bool is_torch_name(std::string_view name) {
  constexpr std::array kFunctions = {kTensorV1,  kTensorV2,           kTensorV3,
                                     kParameter, kParameterWithState, kTensorWithState};
  return std::ranges::find(kFunctions, name) != kFunctions.end() || !storage_name(name).empty() ||
         find(kTorchDTypes, name) != nullptr || find(kOtherTensors, name) != nullptr ||
         std::ranges::find(kOtherDTypes, name) != kOtherDTypes.end() ||
         std::ranges::find(kIgnored, name) != kIgnored.end();
}

TorchObjects torch_objects(const Pickle& pickle, std::string_view where) {
  return Objects(pickle, where).read();
}

}  // namespace assay
