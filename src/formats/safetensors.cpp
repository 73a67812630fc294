// A safetensors checkpoint: its tensors, from one file or several, and the writer of such files.
// What is enforced of a file's header stands in safetensors_header.cpp.
#include "formats/safetensors.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "assay/error.h"
#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "base/text.h"
#include "formats/json_file.h"
#include "formats/safetensors_header.h"
#include "formats/weight_parts.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

std::uint64_t byte_count(const TensorInfo& tensor, std::string_view where) {
  const auto count = static_cast<std::uint64_t>(element_count(tensor.shape, where));
  if (count > std::uint64_t{1} << 48) {
    throw input_error(where, "shape " + shape_text(tensor.shape), "at most 2^48 elements");
  }
  return count * dtype_size(tensor.dtype);
}

}  // namespace

struct Weights::Impl {
  std::vector<MappedFile> mapped;
  std::vector<fs::path> files;
  std::vector<ArrayView> tensors;        // sorted by name
  std::vector<std::size_t> tensor_file;  // beside `tensors`
  fs::path directory;
  std::vector<AlignedVector<std::byte>> made;
  std::optional<std::size_t> bytes;  // where it is not the files' size
  bool in_place = true;
  std::map<std::string, Mxfp4Scales, std::less<>> scales;
  std::map<std::string, Fp8Scales, std::less<>> fp8_scales;

  void add_file(const fs::path& path, std::vector<StoredTensor>& all) {
    mapped.emplace_back(path);
    files.push_back(path);
    parse_safetensors(mapped.back(), mapped.size() - 1, all);
  }

  void index(std::vector<StoredTensor> all) {
    std::ranges::sort(all, {},
                      [](const StoredTensor& t) -> const std::string& { return t.view.name; });
    for (std::size_t i = 1; i < all.size(); ++i) {
      if (all[i].view.name != all[i - 1].view.name) continue;
      throw input_error(tensor_where(files[all[i].file], all[i].view.name),
                        "is also in " + files[all[i - 1].file].string(), "every name once");
    }
    for (StoredTensor& tensor : all) {
      tensors.push_back(std::move(tensor.view));
      tensor_file.push_back(tensor.file);
    }
  }

  std::optional<std::size_t> position(std::string_view name) const {
    const auto found = std::ranges::lower_bound(tensors, name, {}, &ArrayView::name);
    if (found == tensors.end() || found->name != name) return std::nullopt;
    return static_cast<std::size_t>(found - tensors.begin());
  }
};

Weights::Weights() : impl_(std::make_unique<Impl>()) {}
Weights::~Weights() = default;
Weights::Weights(Weights&&) noexcept = default;
Weights& Weights::operator=(Weights&&) noexcept = default;

Weights Weights::open(const fs::path& directory) {
  const fs::path single = directory / "model.safetensors";
  const fs::path index = directory / "model.safetensors.index.json";
  if (is_there(single)) return open_file(single);
  if (!is_there(index)) {
    throw input_error(directory.string(), "no weights",
                      "model.safetensors or model.safetensors.index.json");
  }
  Weights weights;
  weights.impl_->directory = directory;
  std::vector<StoredTensor> all;
  const std::map<std::string, std::string> map = read_weight_map(index);
  std::vector<std::string> names;
  for (const auto& [tensor, file] : map) names.push_back(file);
  std::ranges::sort(names);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  for (const std::string& name : names) {
    if (!is_there(directory / name)) {
      throw input_error((directory / name).string(), "no such file",
                        "the shard that " + index.string() + " names");
    }
    weights.impl_->add_file(directory / name, all);
  }
  weights.impl_->index(std::move(all));
  for (const auto& [tensor, file] : map) {
    const auto at = weights.impl_->position(tensor);
    if (!at || weights.file_of(tensor).filename() != file) {
      throw input_error(tensor_where(directory / file, tensor), "missing",
                        "the tensor that " + index.string() + " puts there");
    }
  }
  return weights;
}

Weights Weights::open_file(const fs::path& file) {
  Weights weights;
  weights.impl_->directory = file.parent_path();
  std::vector<StoredTensor> all;
  weights.impl_->add_file(file, all);
  weights.impl_->index(std::move(all));
  return weights;
}

Weights::Weights(WeightParts parts) : Weights() {
  impl_->directory = std::move(parts.checkpoint);
  impl_->mapped = std::move(parts.files);
  for (const MappedFile& file : impl_->mapped) impl_->files.push_back(file.path());
  impl_->made = std::move(parts.made);
  impl_->bytes = parts.bytes;
  impl_->in_place = parts.in_place;
  std::vector<StoredTensor> all;
  for (WeightParts::Tensor& tensor : parts.tensors) {
    all.push_back({std::move(tensor.view), 0, 0, tensor.file});
  }
  impl_->index(std::move(all));
}

std::span<const ArrayView> Weights::tensors() const noexcept { return impl_->tensors; }

const ArrayView* Weights::find(std::string_view name) const noexcept {
  const auto at = impl_->position(name);
  return at ? &impl_->tensors[*at] : nullptr;
}

const ArrayView& Weights::get(std::string_view name, std::span<const std::int64_t> shape) const {
  const ArrayView* tensor = find(name);
  if (tensor == nullptr) {
    throw input_error(tensor_where(impl_->directory, name), "missing",
                      "a tensor of shape " + shape_text(shape));
  }
  const std::string where = tensor_where(file_of(name), name);
  const bool fp8 = tensor->dtype == DType::kF8E4M3 && fp8_scales_of(name) != nullptr;
  if (!fp8 && tensor->dtype != DType::kBF16 && tensor->dtype != DType::kF16 &&
      tensor->dtype != DType::kF32) {
    throw input_error(where, fmt::format("dtype {}", dtype_name(tensor->dtype)),
                      "BF16, F16 or F32, or a matrix in F8_E4M3 with its scales beside it");
  }
  if (!std::ranges::equal(tensor->shape, shape)) {
    throw input_error(where, "shape " + shape_text(tensor->shape),
                      shape_text(shape) + " (by config.json)");
  }
  return *tensor;
}

void Weights::rename(const std::function<std::string(const std::string&)>& new_name) {
  std::set<std::string> taken;
  for (const ArrayView& tensor : impl_->tensors) taken.insert(tensor.name);
  std::vector<StoredTensor> all;
  for (std::size_t i = 0; i < impl_->tensors.size(); ++i) {
    StoredTensor tensor{std::move(impl_->tensors[i]), 0, 0, impl_->tensor_file[i]};
    std::string name = new_name(tensor.view.name);
    if (taken.insert(name).second) {
      if (auto scales = impl_->fp8_scales.extract(tensor.view.name)) {
        scales.key() = name;
        impl_->fp8_scales.insert(std::move(scales));
      }
      tensor.view.name = std::move(name);
    }
    all.push_back(std::move(tensor));
  }
  impl_->tensors.clear();
  impl_->tensor_file.clear();
  impl_->index(std::move(all));
}

void Weights::replace(std::map<std::string, std::vector<ArrayView>, std::less<>> parts) {
  std::vector<StoredTensor> all;
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < impl_->tensors.size(); ++i) {
    const std::size_t file = impl_->tensor_file[i];
    const auto found = parts.find(impl_->tensors[i].name);
    if (found == parts.end()) {
      all.push_back({std::move(impl_->tensors[i]), 0, 0, file});
      continue;
    }
    for (ArrayView& part : found->second) all.push_back({std::move(part), 0, 0, file});
  }
  for (const StoredTensor& tensor : all) {
    const std::string where = tensor_where(impl_->files[tensor.file], tensor.view.name);
    bytes += static_cast<std::size_t>(element_count(tensor.view.shape, where)) *
             dtype_size(tensor.view.dtype);
  }
  if (!impl_->in_place) impl_->bytes = bytes;
  impl_->tensors.clear();
  impl_->tensor_file.clear();
  impl_->index(std::move(all));
}

std::span<std::byte> Weights::make(std::size_t bytes) {
  impl_->in_place = false;
  return make_vectors(bytes);
}

std::span<std::byte> Weights::make_vectors(std::size_t bytes) {
  impl_->made.emplace_back().resize(bytes);
  return impl_->made.back();
}

void Weights::set_scales(const std::string& name, const Mxfp4Scales& scales) {
  impl_->scales[name] = scales;
}

const Mxfp4Scales* Weights::scales_of(std::string_view name) const noexcept {
  const auto found = impl_->scales.find(name);
  return found == impl_->scales.end() ? nullptr : &found->second;
}

void Weights::set_fp8_scales(const std::string& name, const Fp8Scales& scales) {
  impl_->fp8_scales[name] = scales;
}

const Fp8Scales* Weights::fp8_scales_of(std::string_view name) const noexcept {
  const auto found = impl_->fp8_scales.find(name);
  return found == impl_->fp8_scales.end() ? nullptr : &found->second;
}

const fs::path& Weights::file_of(std::string_view name) const {
  const auto at = impl_->position(name);
  return at ? impl_->files[impl_->tensor_file[*at]] : impl_->directory;
}

const std::vector<fs::path>& Weights::files() const noexcept { return impl_->files; }

bool Weights::in_place() const noexcept { return impl_->in_place; }

std::size_t Weights::total_bytes() const noexcept {
  if (impl_->bytes) return *impl_->bytes;
  std::size_t total = 0;
  for (const MappedFile& file : impl_->mapped) total += file.bytes().size();
  return total;
}

std::span<const std::byte> Weights::mapped(std::size_t file) const noexcept {
  return impl_->mapped[file].bytes();
}

void write_safetensors(const fs::path& path, std::span<const TensorInfo> tensors,
                       const std::function<void(const TensorInfo&, ByteSink&)>& fill) {
  OrderedJson header = {{"__metadata__", {{"format", "pt"}}}};
  std::set<std::string_view> names = {"__metadata__"};
  std::uint64_t at = 0;
  for (const TensorInfo& tensor : tensors) {
    const std::string where = tensor_where(path, tensor.name);
    if (!names.insert(tensor.name).second) throw input_error(where, "given twice", "unique names");
    if (!simdjson::validate_utf8(tensor.name.data(), tensor.name.size())) {
      throw input_error(where, "a name that is not UTF-8", "UTF-8");
    }
    const std::uint64_t size = byte_count(tensor, where);
    header[tensor.name] = {{"dtype", dtype_name(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {at, at + size}}};
    at += size;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');

  struct FileSink final : ByteSink {
    explicit FileSink(const fs::path& name) : file(name) {}
    void write(std::span<const std::byte> bytes) override { file.write(bytes); }
    AtomicFile file;
  } sink(path);
  std::array<std::byte, 8> size{};
  for (std::size_t i = 0; i < 8; ++i) size[i] = static_cast<std::byte>(text.size() >> (8 * i));
  sink.write(size);
  sink.write(std::as_bytes(std::span(text)));
  for (const TensorInfo& tensor : tensors) {
    const std::uint64_t before = sink.file.size();
    fill(tensor, sink);
    const std::string where = tensor_where(path, tensor.name);
    const std::uint64_t expected = byte_count(tensor, where);
    if (sink.file.size() - before != expected) {
      throw input_error(where, fmt::format("{} bytes given", sink.file.size() - before),
                        fmt::format("{}", expected));
    }
  }
  sink.file.commit();
}

}  // namespace assay
