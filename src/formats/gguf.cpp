// The GGUF format (https://github.com/ggml-org/ggml, docs/gguf.md), versions 2 and 3,
// little-endian:
//
//   "GGUF" | u32 version | u64 tensors | u64 keys | keys | tensor infos | padding | data
//   key: string, u32 type, value; string: u64 length, bytes; list: u32 type, u64 length, values
//   tensor info: string name, u32 axes, u64 each axis (fastest first), u32 type, u64 offset in data
//
// The data begin at a multiple of the alignment (key general.alignment, 32 where it is missing),
// and so does every tensor.
//
// Enforced: at most 65,536 keys and 1,048,576 tensors; no key or name twice; keys of at most 65,535
// bytes, names of at most 255; no lists of lists; numbers, lists and tensors inside the file; 1 to
// 4 axes without a 0, their product below 2^63; rows of whole blocks; an alignment that is a power
// of two from 8 to 65,536; tensors that do not overlap; the tensor types of gguf_quants.h.
#include "formats/gguf.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <numeric>

#include "assay/error.h"
#include "base/sizes.h"
#include "base/text.h"

namespace assay {
namespace {

constexpr std::uint64_t kMaxKeys = 1u << 16;
constexpr std::uint64_t kMaxTensors = 1u << 20;
constexpr std::uint64_t kMaxKey = 65'535;
constexpr std::uint64_t kMaxTensorName = 255;
constexpr std::uint32_t kMaxGgufAxes = 4;
constexpr std::int64_t kMaxInteger = std::numeric_limits<std::int32_t>::max();

enum Type : std::uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kList = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

// Bytes of a number or truth value; 0 for what has no fixed size.
std::size_t fixed_size(std::uint32_t type) {
  switch (type) {
    case kU8:
    case kI8:
    case kBool:
      return 1;
    case kU16:
    case kI16:
      return 2;
    case kU32:
    case kI32:
    case kF32:
      return 4;
    case kU64:
    case kI64:
    case kF64:
      return 8;
    default:
      return 0;
  }
}

std::uint64_t read_unsigned(const std::byte* bytes, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = size; i-- > 0;) value = value << 8 | static_cast<std::uint64_t>(bytes[i]);
  return value;
}

// The shortest decimal number that rounds to x.
double decimal(float x) {
  return std::isfinite(x) ? std::strtod(fmt::format("{}", x).c_str(), nullptr)
                          : static_cast<double>(x);
}

double number_at(const std::byte* bytes, std::uint32_t type) {
  const std::uint64_t bits = read_unsigned(bytes, fixed_size(type));
  switch (type) {
    case kI8:
      return static_cast<std::int8_t>(bits);
    case kI16:
      return static_cast<std::int16_t>(bits);
    case kI32:
      return static_cast<std::int32_t>(bits);
    case kI64:
      return static_cast<double>(static_cast<std::int64_t>(bits));
    case kF32:
      return decimal(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
    case kF64:
      return std::bit_cast<double>(bits);
    default:
      return static_cast<double>(bits);
  }
}

}  // namespace

// Reads from the front of the file's bytes and never beyond them.
class GgufFile::Cursor {
 public:
  Cursor(std::string file, std::span<const std::byte> bytes)
      : file_(std::move(file)), bytes_(bytes) {}

  std::size_t at() const { return at_; }

  std::span<const std::byte> take(std::uint64_t count, std::string_view what) {
    if (count > bytes_.size() - at_) {
      throw input_error(
          file_, fmt::format("{} of {} bytes at byte {} of {}", what, count, at_, bytes_.size()),
          "it to end inside the file (is it cut short?)");
    }
    const std::span<const std::byte> part = bytes_.subspan(at_, count);
    at_ += count;
    return part;
  }
  std::uint32_t u32(std::string_view what) {
    return static_cast<std::uint32_t>(read_unsigned(take(4, what).data(), 4));
  }
  std::uint64_t u64(std::string_view what) { return read_unsigned(take(8, what).data(), 8); }
  std::string_view string(std::string_view what) {
    const std::span<const std::byte> text = take(u64(what), what);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
  }

 private:
  std::string file_;
  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
};

std::size_t GgufTensor::elements() const {
  const GgmlLayout& layout = ggml_layout(type);
  return bytes.size() / layout.block_bytes * layout.block_elements;
}

GgufFile::GgufFile(const std::filesystem::path& path) : file_(path) {
  const std::string file = path.string();
  Cursor cursor(file, file_.bytes());
  if (std::memcmp(cursor.take(4, "the first word").data(), "GGUF", 4) != 0) {
    throw input_error(file, "no \"GGUF\" at the beginning", "a GGUF file");
  }
  const std::uint32_t version = cursor.u32("the version");
  if (version != 2 && version != 3) {
    // A big-endian file's version 3 reads as 3 << 24.
    const bool swapped = version != 0 && (version & 0xFFFFu) == 0;
    throw input_error(
        file, fmt::format("GGUF version {}", version),
        swapped ? "2 or 3 (this file is big-endian; only little-endian is read)" : "2 or 3");
  }
  const std::uint64_t tensors = cursor.u64("the number of tensors");
  const std::uint64_t keys = cursor.u64("the number of keys");
  if (tensors > kMaxTensors || keys > kMaxKeys) {
    throw input_error(file, fmt::format("{} tensors and {} keys", tensors, keys),
                      fmt::format("at most {} and {}", kMaxTensors, kMaxKeys));
  }
  for (std::uint64_t i = 0; i < keys; ++i) {
    const std::string_view key = cursor.string("a key");
    if (key.empty() || key.size() > kMaxKey) {
      throw input_error(file, fmt::format("a key of {} bytes", key.size()),
                        fmt::format("1 to {}", kMaxKey));
    }
    const std::uint32_t type = cursor.u32("a value's type");
    metadata_.push_back({key, read_value(cursor, type, key)});
  }
  std::ranges::sort(metadata_, {}, &Entry::key);
  const auto twice = std::ranges::adjacent_find(metadata_, {}, &Entry::key);
  if (twice != metadata_.end())
    throw input_error(where(twice->key), "given twice", "each key once");
  read_tensors(cursor, tensors);
}

GgufFile::Value GgufFile::read_value(Cursor& cursor, std::uint32_t type,
                                     std::string_view key) const {
  if (type == kString) return cursor.string(where(key));
  if (type == kList) return read_list(cursor, key);
  const std::size_t size = fixed_size(type);
  if (size == 0) throw input_error(where(key), fmt::format("value type {}", type), "0 to 12");
  const std::byte* bytes = cursor.take(size, where(key)).data();
  const std::uint64_t bits = read_unsigned(bytes, size);
  switch (type) {
    case kBool:
      if (bits > 1) throw input_error(where(key), fmt::format("truth value {}", bits), "0 or 1");
      return bits == 1;
    case kF32:
      return std::bit_cast<float>(static_cast<std::uint32_t>(bits));
    case kF64:
      return std::bit_cast<double>(bits);
    case kI8:
      return static_cast<std::int64_t>(static_cast<std::int8_t>(bits));
    case kI16:
      return static_cast<std::int64_t>(static_cast<std::int16_t>(bits));
    case kI32:
      return static_cast<std::int64_t>(static_cast<std::int32_t>(bits));
    case kI64:
      return static_cast<std::int64_t>(bits);
    default:
      return bits;
  }
}

GgufFile::Value GgufFile::read_list(Cursor& cursor, std::string_view key) const {
  const std::uint32_t type = cursor.u32(where(key));
  const std::uint64_t count = cursor.u64(where(key));
  if (type == kString) {
    std::vector<std::string_view> strings;
    for (std::uint64_t i = 0; i < count; ++i) strings.push_back(cursor.string(where(key)));
    return strings;
  }
  const std::size_t size = fixed_size(type);
  if (size == 0) {
    throw input_error(where(key), fmt::format("a list of value type {}", type),
                      "a list of numbers, truth values or strings");
  }
  const auto bytes = product_of<std::uint64_t>(count, size);
  if (!bytes)
    throw input_error(where(key), fmt::format("a list of {}", count), "one inside the file");
  return NumberList{type, cursor.take(*bytes, where(key))};
}

void GgufFile::read_tensors(Cursor& cursor, std::uint64_t count) {
  const std::string file = path().string();
  std::vector<std::uint64_t> offsets;
  std::vector<std::uint64_t> sizes;
  for (std::uint64_t i = 0; i < count; ++i) {
    GgufTensor tensor;
    tensor.name = cursor.string("a tensor's name");
    if (tensor.name.empty() || tensor.name.size() > kMaxTensorName) {
      throw input_error(file, fmt::format("a tensor's name of {} bytes", tensor.name.size()),
                        fmt::format("1 to {}", kMaxTensorName));
    }
    const std::string at = tensor_where(tensor.name);
    const std::uint32_t axes = cursor.u32(at);
    if (axes < 1 || axes > kMaxGgufAxes) {
      throw input_error(at, fmt::format("{} axes", axes), fmt::format("1 to {}", kMaxGgufAxes));
    }
    for (std::uint32_t axis = 0; axis < axes; ++axis) {
      const std::uint64_t size = cursor.u64(at);
      if (size == 0 || size > std::uint64_t{1} << 62) {
        throw input_error(at, fmt::format("an axis of {}", size), "1 to 2^62");
      }
      tensor.shape.insert(tensor.shape.begin(), static_cast<std::int64_t>(size));
    }
    const std::uint32_t type = cursor.u32(at);
    const GgmlLayout* layout = ggml_layout(type);
    if (layout == nullptr) throw input_error(at, ggml_type_text(type), readable_ggml_types());
    tensor.type = layout->type;
    const auto elements = static_cast<std::uint64_t>(element_count(tensor.shape, at));
    const auto row = static_cast<std::uint64_t>(tensor.shape.back());
    if (row % layout->block_elements != 0) {
      throw input_error(at, fmt::format("rows of {} in {}", row, layout->name),
                        fmt::format("a multiple of {}", layout->block_elements));
    }
    const std::uint64_t blocks = elements / layout->block_elements;
    if (blocks > std::numeric_limits<std::uint64_t>::max() / layout->block_bytes) {
      throw input_error(at, "shape " + shape_text(tensor.shape), "a tensor inside the file");
    }
    sizes.push_back(blocks * layout->block_bytes);
    offsets.push_back(cursor.u64(at));
    tensors_.push_back(std::move(tensor));
  }

  const std::int64_t alignment = integer("general.alignment", 32);
  if (alignment < 8 || alignment > 65'536 ||
      !std::has_single_bit(static_cast<std::uint64_t>(alignment))) {
    throw input_error(where("general.alignment"), std::to_string(alignment),
                      "a power of two from 8 to 65536");
  }
  const auto unit = static_cast<std::uint64_t>(alignment);
  const std::uint64_t begin = (cursor.at() + unit - 1) / unit * unit;
  const std::span<const std::byte> data =
      file_.bytes().subspan(std::min<std::uint64_t>(begin, file_.bytes().size()));
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const std::string at = tensor_where(tensors_[i].name);
    if (offsets[i] % unit != 0) {
      throw input_error(at, fmt::format("offset {}", offsets[i]),
                        fmt::format("a multiple of the alignment, {}", unit));
    }
    if (!lies_within(offsets[i], sizes[i], 1, data.size())) {
      throw input_error(
          at, fmt::format("{} bytes at offset {} of {} of data", sizes[i], offsets[i], data.size()),
          "a tensor inside the file (is it cut short?)");
    }
    tensors_[i].bytes = data.subspan(offsets[i], sizes[i]);
  }

  by_name_.resize(tensors_.size());
  std::iota(by_name_.begin(), by_name_.end(), std::size_t{0});
  const auto name = [&](std::size_t i) -> const std::string& { return tensors_[i].name; };
  std::ranges::sort(by_name_, {}, name);
  const auto twice = std::ranges::adjacent_find(by_name_, {}, name);
  if (twice != by_name_.end()) {
    throw input_error(tensor_where(tensors_[*twice].name), "given twice", "each name once");
  }
  check_overlaps();
}

void GgufFile::check_overlaps() const {
  std::vector<const GgufTensor*> placed;
  for (const GgufTensor& tensor : tensors_) placed.push_back(&tensor);
  std::ranges::sort(placed, {}, [](const GgufTensor* t) { return t->bytes.data(); });
  for (std::size_t i = 1; i < placed.size(); ++i) {
    const std::span<const std::byte> before = placed[i - 1]->bytes;
    if (before.data() + before.size() > placed[i]->bytes.data()) {
      throw input_error(tensor_where(placed[i]->name),
                        "overlaps tensor '" + shown(placed[i - 1]->name) + "'",
                        "tensors that share no bytes");
    }
  }
}

const GgufTensor* GgufFile::find(std::string_view name) const noexcept {
  const auto found = std::ranges::lower_bound(
      by_name_, name, {}, [&](std::size_t i) -> std::string_view { return tensors_[i].name; });
  if (found == by_name_.end() || tensors_[*found].name != name) return nullptr;
  return &tensors_[*found];
}

const GgufFile::Entry* GgufFile::entry(std::string_view key) const noexcept {
  const auto found = std::ranges::lower_bound(metadata_, key, {}, &Entry::key);
  return found == metadata_.end() || found->key != key ? nullptr : &*found;
}

const GgufFile::Entry& GgufFile::require(std::string_view key, std::string_view expected) const {
  const Entry* found = entry(key);
  if (found == nullptr) throw input_error(where(key), "missing", expected);
  return *found;
}

bool GgufFile::has(std::string_view key) const noexcept { return entry(key) != nullptr; }

bool GgufFile::is_list(std::string_view key) const {
  const Entry* found = entry(key);
  return found != nullptr && (std::holds_alternative<NumberList>(found->value) ||
                              std::holds_alternative<std::vector<std::string_view>>(found->value));
}

std::string_view GgufFile::string(std::string_view key) const {
  const auto* text = std::get_if<std::string_view>(&require(key, "a string").value);
  if (text == nullptr) throw input_error(where(key), "not a string", "a string");
  return *text;
}

std::optional<std::string_view> GgufFile::optional_string(std::string_view key) const {
  if (!has(key)) return std::nullopt;
  return string(key);
}

bool GgufFile::boolean(std::string_view key, bool fallback) const {
  const Entry* found = entry(key);
  if (found == nullptr) return fallback;
  const bool* value = std::get_if<bool>(&found->value);
  if (value == nullptr) throw input_error(where(key), "not a truth value", "true or false");
  return *value;
}

double GgufFile::as_number(const Entry& entry) const {
  if (const auto* value = std::get_if<std::uint64_t>(&entry.value)) {
    return static_cast<double>(*value);
  }
  if (const auto* value = std::get_if<std::int64_t>(&entry.value)) {
    return static_cast<double>(*value);
  }
  if (const auto* value = std::get_if<float>(&entry.value)) return decimal(*value);
  if (const auto* value = std::get_if<double>(&entry.value)) return *value;
  throw input_error(where(entry.key), "not a number", "a number");
}

std::int64_t GgufFile::integer(std::string_view key) const {
  const double value = as_number(require(key, "an integer"));
  if (!(value >= 0 && value <= static_cast<double>(kMaxInteger)) || value != std::floor(value)) {
    throw input_error(where(key), fmt::format("{}", value), "an integer from 0 to 2^31 - 1");
  }
  return static_cast<std::int64_t>(value);
}

std::int64_t GgufFile::integer(std::string_view key, std::int64_t fallback) const {
  return has(key) ? integer(key) : fallback;
}

double GgufFile::number(std::string_view key) const {
  const double value = as_number(require(key, "a number"));
  if (!std::isfinite(value)) {
    throw input_error(where(key), fmt::format("{}", value), "a finite number");
  }
  return value;
}

std::span<const std::string_view> GgufFile::strings(std::string_view key) const {
  const Entry* found = entry(key);
  if (found == nullptr) return {};
  const auto* list = std::get_if<std::vector<std::string_view>>(&found->value);
  if (list == nullptr) throw input_error(where(key), "no list of strings", "a list of strings");
  return *list;
}

std::vector<double> GgufFile::numbers(std::string_view key) const {
  const Entry* found = entry(key);
  if (found == nullptr) return {};
  const auto* list = std::get_if<NumberList>(&found->value);
  if (list == nullptr) throw input_error(where(key), "no list of numbers", "a list of numbers");
  const std::size_t size = fixed_size(list->type);
  std::vector<double> values(list->bytes.size() / size);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = number_at(list->bytes.data() + i * size, list->type);
  }
  return values;
}

std::string GgufFile::where(std::string_view key) const {
  return fmt::format("{}: key '{}'", path().string(), shown(key));
}

std::string GgufFile::tensor_where(std::string_view tensor) const {
  return fmt::format("{}: tensor '{}'", path().string(), shown(tensor));
}

}  // namespace assay
