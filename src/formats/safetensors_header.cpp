// The safetensors format (https://github.com/huggingface/safetensors, "Format"):
//
//   u64 little-endian N | N bytes of JSON: {name: {dtype, shape, data_offsets: [begin, end]}, ...}
//   | data; offsets count from the first data byte. "__metadata__" maps strings to strings.
//
// Enforced, as by the format's own implementation: N at most 100 MB and inside the file; no name
// twice; offsets in order, inside the data, as long as shape and dtype say; the tensors together
// cover the data without hole or overlap. Besides: at most 64 axes (as numpy and torch), the dtypes
// of DType, an index file of at most 64 MiB, and shards beside it.
#include "formats/safetensors_header.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <new>

#include "assay/error.h"
#include "base/sizes.h"
#include "base/text.h"
#include "formats/json_fault.h"

namespace assay {
namespace {

namespace fs = std::filesystem;
namespace dom = simdjson::dom;

constexpr std::uint64_t kMaxHeader = 100'000'000;
constexpr std::uint64_t kMaxIndex = std::uint64_t{64} << 20;
constexpr std::array kDTypes = {DType::kBool, DType::kU8,   DType::kI8,     DType::kI16,
                                DType::kI32,  DType::kI64,  DType::kF8E4M3, DType::kF8E5M2,
                                DType::kF16,  DType::kBF16, DType::kF32,    DType::kF64,
                                DType::kU16,  DType::kU32,  DType::kU64};

std::uint64_t read_u64(const std::byte* bytes) {
  std::uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | static_cast<std::uint64_t>(bytes[i]);
  return value;
}

// The parser keeps the values. It reads past the end of its input, so it gets a padded copy.
dom::object parse_object(std::string_view where, std::span<const std::byte> json,
                         dom::parser& parser, std::string_view expected) {
  dom::element root;
  dom::object object;
  const simdjson::padded_string text(reinterpret_cast<const char*>(json.data()), json.size());
  if (text.data() == nullptr) throw std::bad_alloc();
  expect_parsed(parser.parse(text).get(root), where, expected);
  if (root.get(object) != simdjson::SUCCESS)
    throw input_error(where, "not a JSON object", expected);
  return object;
}

// The fields of an object. Duplicate names are an error.
std::map<std::string_view, dom::element> unique_fields(const dom::object& object,
                                                       std::string_view where) {
  std::map<std::string_view, dom::element> fields;
  for (const dom::key_value_pair field : object) {
    if (!fields.emplace(field.key, field.value).second) {
      throw input_error(where, fmt::format("duplicate '{}'", shown(field.key)), "every name once");
    }
  }
  return fields;
}

// One entry of the header.
StoredTensor parse_tensor(const fs::path& file, std::string_view name, const dom::element& value,
                          std::span<const std::byte> data) {
  const std::string where = tensor_where(file, name);
  dom::object object;
  if (value.get(object) != simdjson::SUCCESS) {
    throw input_error(where, "not a JSON object", "dtype, shape and data_offsets");
  }
  const auto fields = unique_fields(object, where);
  const auto field = [&](std::string_view name_of_field, auto& result) {
    const auto found = fields.find(name_of_field);
    return found != fields.end() && found->second.get(result) == simdjson::SUCCESS;
  };
  std::string_view dtype;
  dom::array shape;
  dom::array offsets;
  if (!field("dtype", dtype)) {
    throw input_error(where, "no string 'dtype'", "a dtype such as \"BF16\"");
  }
  if (!field("shape", shape)) {
    throw input_error(where, "no list 'shape'", "a list of sizes");
  }
  if (!field("data_offsets", offsets) || offsets.size() != 2) {
    throw input_error(where, "no list 'data_offsets' of two", "[begin, end]");
  }
  StoredTensor tensor;
  tensor.view.name = name;
  const auto* known = std::ranges::find(kDTypes, dtype, dtype_name);
  if (known == kDTypes.end()) {
    throw input_error(where, fmt::format("dtype \"{}\"", shown(dtype)),
                      "BF16, F16, F32, F64, F8_E4M3, F8_E5M2, I64, I32, I16, I8, U8 or BOOL");
  }
  tensor.view.dtype = *known;
  if (shape.size() > kMaxAxes) {
    throw input_error(where, fmt::format("{} axes", shape.size()),
                      fmt::format("at most {}", kMaxAxes));
  }
  for (const dom::element axis : shape) {
    std::uint64_t size = 0;
    if (axis.get(size) != simdjson::SUCCESS || size > std::uint64_t{1} << 62) {
      throw input_error(where, "shape with something that is not a size", "non-negative integers");
    }
    tensor.view.shape.push_back(static_cast<std::int64_t>(size));
  }
  if (offsets.at(0).get(tensor.begin) != simdjson::SUCCESS ||
      offsets.at(1).get(tensor.end) != simdjson::SUCCESS) {
    throw input_error(where, "data_offsets that are not integers", "[begin, end]");
  }
  const std::string range = fmt::format("data_offsets [{}, {}]", tensor.begin, tensor.end);
  if (tensor.begin > tensor.end || tensor.end > data.size()) {
    throw input_error(where, range,
                      fmt::format("begin <= end <= {} (is the file cut short?)", data.size()));
  }
  const auto count = static_cast<std::uint64_t>(element_count(tensor.view.shape, where));
  const std::uint64_t size = tensor.end - tensor.begin;
  const std::size_t item = dtype_size(tensor.view.dtype);
  if (size / item != count || size % item != 0) {
    throw input_error(
        where, fmt::format("{} bytes ({})", size, range),
        fmt::format("{} elements of {}, shape {}", count, dtype, shape_text(tensor.view.shape)));
  }
  tensor.view.bytes = data.subspan(tensor.begin, size);
  return tensor;
}

void check_metadata(const fs::path& file, const dom::element& value) {
  const std::string where = file.string() + ": header field '__metadata__'";
  dom::object metadata;
  if (value.is_null()) return;  // as MLX writes it
  if (value.get(metadata) != simdjson::SUCCESS) {
    throw input_error(where, "not a JSON object", "strings by name");
  }
  for (const dom::key_value_pair field : metadata) {
    if (!field.value.is_string()) {
      throw input_error(where, fmt::format("'{}' is not a string", shown(field.key)),
                        "strings by name");
    }
  }
}

// Checks that the tensors cover the data without holes and overlaps.
void check_coverage(const fs::path& file, std::vector<StoredTensor>& tensors,
                    std::uint64_t data_size) {
  std::ranges::sort(tensors, {}, [](const StoredTensor& t) { return std::pair(t.begin, t.end); });
  std::uint64_t at = 0;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.begin != at) {
      throw input_error(tensor_where(file, tensor.view.name),
                        fmt::format("begins at data offset {}, {} the one before", tensor.begin,
                                    tensor.begin < at ? "overlapping" : "with a hole after"),
                        fmt::format("to begin at {}", at));
    }
    at = tensor.end;
  }
  if (at != data_size) {
    throw input_error(file.string(),
                      fmt::format("{} bytes of data that belong to no tensor", data_size - at),
                      fmt::format("the data to end at offset {}", at));
  }
}

// Whether the name stays in its directory. (The file may be a link: download caches use links.)
bool is_file_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos;
}

}  // namespace

std::string tensor_where(const fs::path& file, std::string_view tensor) {
  return fmt::format("{}: tensor '{}'", file.string(), shown(tensor));
}

void parse_safetensors(const MappedFile& file, std::size_t index, std::vector<StoredTensor>& all) {
  const fs::path& path = file.path();
  const std::span<const std::byte> bytes = file.bytes();
  if (bytes.size() < 8) {
    throw input_error(path.string(), fmt::format("{} bytes", bytes.size()),
                      "a safetensors file (at least 8 bytes)");
  }
  const std::uint64_t header_size = read_u64(bytes.data());
  if (header_size > kMaxHeader || header_size > bytes.size() - 8) {
    throw input_error(
        path.string(), fmt::format("header of {} bytes in a file of {}", header_size, bytes.size()),
        fmt::format("at most {} and inside the file (is it cut short, or no safetensors file?)",
                    kMaxHeader));
  }
  const std::span<const std::byte> data = bytes.subspan(8 + header_size);
  dom::parser parser;
  const dom::object header = parse_object(path.string() + ": header", bytes.subspan(8, header_size),
                                          parser, "JSON after the first 8 bytes");
  std::vector<StoredTensor> tensors;
  for (const auto& [name, value] : unique_fields(header, path.string() + ": header")) {
    if (name == "__metadata__") {
      check_metadata(path, value);
      continue;
    }
    tensors.push_back(parse_tensor(path, name, value, data));
    tensors.back().file = index;
  }
  check_coverage(path, tensors, data.size());
  std::ranges::move(tensors, std::back_inserter(all));
}

std::map<std::string, std::string> read_weight_map(const fs::path& path) {
  const MappedFile file(path);
  if (file.bytes().size() > kMaxIndex) {
    throw input_error(path.string(), fmt::format("{} bytes", file.bytes().size()),
                      fmt::format("at most {}", kMaxIndex));
  }
  dom::parser parser;
  const dom::object index =
      parse_object(path.string(), file.bytes(), parser, "a JSON object (is the file cut short?)");
  const std::string where = field_text(path.string(), "weight_map");
  dom::object map;
  if (index["weight_map"].get(map) != simdjson::SUCCESS || map.size() == 0) {
    throw input_error(where, "missing or empty", "a shard's file name for every tensor");
  }
  std::map<std::string, std::string> result;
  for (const auto& [tensor, value] : unique_fields(map, where)) {
    std::string_view name;
    if (value.get(name) != simdjson::SUCCESS || !is_file_name(name)) {
      throw input_error(
          where, fmt::format("{} for tensor '{}'", shown(simdjson::minify(value)), shown(tensor)),
          "the name of a file beside the index");
    }
    result.emplace(tensor, name);
  }
  return result;
}

}  // namespace assay
