#include "formats/array_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>

#include "assay/error.h"
#include "assay/npz.h"
#include "base/directory.h"
#include "base/mapped_file.h"
#include "base/sizes.h"
#include "base/text.h"
#include "formats/array_room.h"
#include "formats/dump_names.h"
#include "formats/gguf_parts.h"
#include "formats/joined_arrays.h"
#include "formats/json_file.h"
#include "formats/msprobe_dump.h"
#include "formats/npy.h"
#include "formats/safetensors.h"
#include "formats/torch_file.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

LoadedArray in_place(ArrayView view) {
  view.mapped = true;
  return {std::move(view), {}, {}};
}

class NpzSource : public ArrayFile::Source {
 public:
  explicit NpzSource(const fs::path& path) : npz_(path) {}
  std::vector<std::string> names() const override { return npz_.names(); }
  std::uint64_t size_of(std::string_view name) const override { return npz_.size_of(name); }
  ArrayForm form_of(std::string_view name) const override { return npz_.form_of(name); }
  LoadedArray load(std::string_view name) const override { return npz_.load(name); }

 private:
  NpzReader npz_;
};

class SafetensorsSource : public ArrayFile::Source {
 public:
  explicit SafetensorsSource(Weights weights) : weights_(std::move(weights)) {}
  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const ArrayView& tensor : weights_.tensors()) names.push_back(tensor.name);
    return names;
  }
  std::uint64_t size_of(std::string_view name) const override {
    return weights_.find(name)->bytes.size();
  }
  LoadedArray load(std::string_view name) const override { return in_place(*weights_.find(name)); }

 private:
  Weights weights_;
};

// A GGUF file's tensors under its own names. Quantised tensors are dequantised to F32.
class GgufSource : public ArrayFile::Source {
 public:
  explicit GgufSource(const fs::path& path) : parts_(path) {}
  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const GgufFile& file : parts_.files()) {
      for (const GgufTensor& tensor : file.tensors()) names.push_back(tensor.name);
    }
    return names;
  }
  std::uint64_t size_of(std::string_view name) const override {
    const GgufTensor& tensor = *parts_.find(name);
    return tensor.elements() * dtype_size(dtype_of(tensor.type));
  }
  ArrayForm form_of(std::string_view name) const override {
    const GgufTensor& tensor = *parts_.find(name);
    return {dtype_of(tensor.type), tensor.shape};
  }
  LoadedArray load(std::string_view name) const override {
    const GgufTensor& tensor = *parts_.find(name);
    const DType dtype = dtype_of(tensor.type);
    if (ggml_layout(tensor.type).block_elements == 1) {
      return in_place({tensor.name, dtype, tensor.shape, tensor.bytes});
    }
    LoadedArray array;
    const auto room = make_room(array, size_of(name), parts_.head().tensor_where(tensor.name));
    dequantize_in_pieces(tensor, room, array.view.mapped);
    array.view = {tensor.name, dtype, tensor.shape, room, array.view.mapped};
    return array;
  }

 private:
  static void dequantize_in_pieces(const GgufTensor& tensor, std::span<std::byte> room,
                                   bool in_file) {
    const GgmlLayout layout = ggml_layout(tensor.type);
    const std::size_t blocks = tensor.bytes.size() / layout.block_bytes;
    constexpr std::size_t kPiece = std::size_t{1} << 16;
    for (std::size_t at = 0; at < blocks; at += kPiece) {
      const std::size_t count = std::min(kPiece, blocks - at);
      const std::span<std::byte> to = room.subspan(at * layout.block_elements * sizeof(float),
                                                   count * layout.block_elements * sizeof(float));
      dequantize(tensor.type,
                 tensor.bytes.subspan(at * layout.block_bytes, count * layout.block_bytes),
                 {reinterpret_cast<float*>(to.data()), count * layout.block_elements});
      if (in_file) give_back(to);
    }
  }
  static DType dtype_of(GgmlType type) {
    if (type == GgmlType::kF16) return DType::kF16;
    return type == GgmlType::kBF16 ? DType::kBF16 : DType::kF32;
  }

  GgufParts parts_;
};

// A single .npy or .pt file, or all such files of a directory.
class FilesSource : public ArrayFile::Source {
 public:
  explicit FilesSource(const fs::path& path) {
    std::vector<DumpArray> arrays;
    if (is_array_kind(path)) {
      add(path, arrays);
      if (entries_.empty()) throw input_error(path.string(), "no tensor in it", "at least one");
    } else {
      add_directory(path, arrays);
    }
    const std::vector<std::string> names = name_dump_arrays(arrays);
    for (std::size_t i = 0; i < names.size(); ++i) by_name_.emplace(names[i], i);
    names_ = names;
    if (!is_array_kind(path)) std::ranges::sort(names_);
  }

  // The kinds of files that may hold arrays in a directory.
  static bool is_array_kind(const fs::path& file) {
    const fs::path kind = file.extension();
    return kind == ".npy" || is_torch_kind(file);
  }
  static bool is_torch_kind(const fs::path& file) {
    const fs::path kind = file.extension();
    return kind == ".pt" || kind == ".pth";
  }

  std::vector<std::string> names() const override { return names_; }
  std::uint64_t size_of(std::string_view name) const override {
    const Entry& entry = find(name);
    if (entry.npy) return entry.npy->bytes().size();
    return entry.torch ? entry.tensor->byte_count() : 0;
  }
  ArrayForm form_of(std::string_view name) const override {
    const Entry& entry = find(name);
    if (entry.error) throw *entry.error;
    if (entry.torch) return entry.torch->form_of(*entry.tensor, std::string(name));
    return npy_form(entry.npy->bytes(), entry.npy->path().string());
  }
  LoadedArray load(std::string_view name) const override {
    const Entry& entry = find(name);
    if (entry.error) throw *entry.error;
    if (entry.torch) return entry.torch->load(*entry.tensor, std::string(name));
    const std::string path = entry.npy->path().string();
    return in_c_order(npy_data(std::string(name), entry.npy->bytes(), path), path);
  }

 private:
  struct Entry {
    std::shared_ptr<const MappedFile> npy = nullptr;
    std::shared_ptr<const TorchFile> torch = nullptr;
    const TorchFile::Tensor* tensor = nullptr;
    std::shared_ptr<const Error> error = nullptr;  // set when this file cannot be read
  };

  const Entry& find(std::string_view name) const { return entries_[by_name_.find(name)->second]; }

  void add(const fs::path& path, std::vector<DumpArray>& arrays) {
    const DumpFile file = parse_dump_name(path.stem().string());
    if (!is_torch_kind(path)) {
      arrays.push_back({file});
      entries_.push_back({.npy = std::make_shared<MappedFile>(path)});
      return;
    }
    const auto torch = std::make_shared<const TorchFile>(path);
    for (const TorchFile::Tensor& tensor : torch->tensors()) {
      arrays.push_back({file, tensor.name, torch->is_dict()});
      entries_.push_back({.torch = torch, .tensor = &tensor});
    }
  }

  void add_directory(const fs::path& directory, std::vector<DumpArray>& arrays) {
    std::vector<fs::path> files = paths_in(directory);
    std::erase_if(files, [](const fs::path& file) { return !is_array_kind(file); });
    std::size_t readable = 0;
    for (const fs::path& file : files) {
      try {
        add(file, arrays);
        ++readable;
      } catch (const Error& problem) {
        if (&file == &files.back() && readable == 0) throw;
        arrays.push_back({parse_dump_name(file.stem().string())});
        entries_.push_back({.error = std::make_shared<const Error>(problem)});
      }
    }
    if (entries_.empty()) {
      throw input_error(directory.string(), "a directory without .npy or .pt files",
                        ".npy or .pt files, or model.safetensors");
    }
  }

  std::vector<Entry> entries_;
  std::vector<std::string> names_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
};

// dtype names as safetensors, numpy and torch spell them.
constexpr std::array<std::pair<std::string_view, DType>, 39> kDTypeNames = {
    {{"F64", DType::kF64},        {"float64", DType::kF64},
     {"f64", DType::kF64},        {"F32", DType::kF32},
     {"float32", DType::kF32},    {"f32", DType::kF32},
     {"BF16", DType::kBF16},      {"bfloat16", DType::kBF16},
     {"bf16", DType::kBF16},      {"F16", DType::kF16},
     {"float16", DType::kF16},    {"f16", DType::kF16},
     {"F8_E4M3", DType::kF8E4M3}, {"float8_e4m3fn", DType::kF8E4M3},
     {"F8_E5M2", DType::kF8E5M2}, {"float8_e5m2", DType::kF8E5M2},
     {"I64", DType::kI64},        {"int64", DType::kI64},
     {"i64", DType::kI64},        {"I32", DType::kI32},
     {"int32", DType::kI32},      {"i32", DType::kI32},
     {"I16", DType::kI16},        {"int16", DType::kI16},
     {"I8", DType::kI8},          {"int8", DType::kI8},
     {"U16", DType::kU16},        {"uint16", DType::kU16},
     {"u16", DType::kU16},        {"U32", DType::kU32},
     {"uint32", DType::kU32},     {"u32", DType::kU32},
     {"U64", DType::kU64},        {"uint64", DType::kU64},
     {"u64", DType::kU64},        {"U8", DType::kU8},
     {"uint8", DType::kU8},       {"BOOL", DType::kBool},
     {"bool", DType::kBool}}};

// Raw elements in separate files, described by a JSON file next to them:
//   {"arrays": [{"name": "logits", "dtype": "F32", "shape": [5, 2560], "file": "logits.bin",
//                "offset": 0, "order": "C"}, ...]}
// offset (bytes) and order ("C": last axis fastest, "F": first axis fastest) may be left out.
// Files are named relative to the sidecar and may hold several arrays.
class RawSource : public ArrayFile::Source {
 public:
  explicit RawSource(const fs::path& path) : path_(path) {
    OrderedJson json = load_json(path);
    const auto arrays = json.is_object() ? json.find("arrays") : json.end();
    if (!json.is_object() || arrays == json.end() || !arrays->is_array()) {
      throw input_error(path.string(), "no list 'arrays'",
                        R"({"arrays": [{"name", "dtype", "shape", "file"}, ...]})");
    }
    for (std::size_t i = 0; i < arrays->size(); ++i) {
      const std::string place = fmt::format("arrays[{}]", i);
      add(JsonObject(path.string(), place, std::move((*arrays)[i])));
    }
    std::uint64_t there = 0;
    for (const auto& [file, mapping] : files_) there += mapping.bytes().size();
    if (named_ / kMostTimes > there) {
      throw input_error(path.string(),
                        fmt::format("arrays of {} bytes in files of {}", named_, there),
                        fmt::format("at most {} times as many", kMostTimes));
    }
  }
  std::vector<std::string> names() const override {
    std::vector<std::string> names;
    for (const auto& [name, data] : arrays_) names.push_back(name);
    return names;
  }
  std::uint64_t size_of(std::string_view name) const override {
    return arrays_.find(name)->second.view.bytes.size();
  }
  LoadedArray load(std::string_view name) const override {
    return in_c_order(arrays_.find(name)->second, path_.string());
  }

 private:
  void add(const JsonObject& entry) {
    NpyData data;
    data.view.name = entry.string("name");
    const std::string dtype = entry.string("dtype");
    const auto* known =
        std::ranges::find(kDTypeNames, dtype, &std::pair<std::string_view, DType>::first);
    if (known == kDTypeNames.end()) {
      throw input_error(
          entry.where("dtype"), "'" + shown(dtype) + "'",
          "F64, F32, BF16, F16, F8_E4M3, F8_E5M2, I64, I32, I16, I8, U64, U32, U16, U8 or "
          "BOOL");
    }
    data.view.dtype = known->second;
    data.view.shape = entry.sizes("shape");
    const std::string order = entry.string("order", "C");
    if (order != "C" && order != "F") {
      throw input_error(entry.where("order"), "'" + shown(order) + "'", "C or F");
    }
    data.fortran_order = order == "F";
    const std::uint64_t offset = entry.unsigned_integer("offset", 0);
    const std::string file = entry.string("file");
    if (!is_path_below(file)) {
      throw input_error(entry.where("file"), "'" + shown(file) + "'",
                        "a path below the sidecar's directory");
    }
    const std::span<const std::byte> bytes = mapped(path_.parent_path() / file);
    const std::string array = entry.where("shape");
    const auto count = static_cast<std::uint64_t>(element_count(data.view.shape, array));
    const std::size_t item = dtype_size(data.view.dtype);
    if (!lies_within(offset, count, item, bytes.size())) {
      throw input_error(array,
                        fmt::format("{} of {} from byte {} of a file of {}",
                                    shape_text(data.view.shape), dtype, offset, bytes.size()),
                        "an array inside the file");
    }
    data.view.bytes = bytes.subspan(offset, count * item);
    named_ = sum_of(named_, count * item).value_or(std::numeric_limits<std::uint64_t>::max());
    const std::string name = data.view.name;
    if (!arrays_.emplace(name, std::move(data)).second) {
      throw input_error(entry.where("name"), "duplicate name '" + shown(name) + "'",
                        "each name once");
    }
  }

  std::span<const std::byte> mapped(const fs::path& file) {
    const auto known = files_.find(file);
    if (known != files_.end()) return known->second.bytes();
    return files_.emplace(file, MappedFile(file)).first->second.bytes();
  }

  fs::path path_;
  std::uint64_t named_ = 0;  // bytes of all arrays
  std::map<fs::path, MappedFile> files_;
  std::map<std::string, NpyData, std::less<>> arrays_;
};

std::unique_ptr<ArrayFile::Source> open_source(const fs::path& path) {
  if (is_msprobe_dump(path)) return open_msprobe_dump(path);
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) {
    if (is_there(path / "model.safetensors") || is_there(path / "model.safetensors.index.json")) {
      return std::make_unique<SafetensorsSource>(Weights::open(path));
    }
    if (const auto gguf = gguf_file_of(path)) return std::make_unique<GgufSource>(*gguf);
    return std::make_unique<FilesSource>(path);
  }
  const fs::path kind = path.extension();
  if (kind == ".npz") return std::make_unique<NpzSource>(path);
  if (FilesSource::is_array_kind(path)) {
    return with_parts_apart(std::make_unique<FilesSource>(path), path);
  }
  if (kind == ".safetensors") {
    return with_parts_apart(std::make_unique<SafetensorsSource>(Weights::open_file(path)), path);
  }
  if (kind == ".gguf") return std::make_unique<GgufSource>(path);
  if (kind == ".json") return std::make_unique<RawSource>(path);
  throw input_error(
      path.string(),
      is_there(path) ? "unknown file type '" + kind.string() + "'" : "no such file or directory",
      "a .npz, .npy, .safetensors, .pt, .gguf or .json file, or a directory of .npy or .pt files");
}

}  // namespace

ArrayFile::ArrayFile(const fs::path& path) : ArrayFile(path, open_source(path)) {}
ArrayFile::ArrayFile(fs::path path, std::unique_ptr<Source> source)
    : path_(std::move(path)),
      source_(std::move(source)),
      names_(source_->names()),
      known_(names_.begin(), names_.end()) {}
ArrayFile::~ArrayFile() = default;
ArrayFile::ArrayFile(ArrayFile&&) noexcept = default;
ArrayFile& ArrayFile::operator=(ArrayFile&&) noexcept = default;

bool ArrayFile::contains(std::string_view name) const noexcept { return known_.contains(name); }

std::uint64_t ArrayFile::size_of(std::string_view name) const {
  require(name);
  return source_->size_of(name);
}

ArrayForm ArrayFile::form_of(std::string_view name) const {
  require(name);
  return source_->form_of(name);
}

LoadedArray ArrayFile::load(std::string_view name) const {
  require(name);
  return source_->load(name);
}

void ArrayFile::require(std::string_view name) const {
  if (contains(name)) return;
  throw input_error(path_.string(), fmt::format("no array '{}'", shown(name)),
                    fmt::format("one of its {} arrays", names_.size()));
}

}  // namespace assay
