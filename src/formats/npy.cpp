#include "formats/npy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <utility>

#include "assay/error.h"
#include "assay/npz.h"
#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "base/sizes.h"
#include "base/text.h"

namespace assay {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kFixed1 = 10;  // bytes before version 1's dict
constexpr std::size_t kAlign = 64;
constexpr std::size_t kMaxNpyHeader = 65536;
// numpy leaves space so that the first axis can grow to this many digits in place.
constexpr std::size_t kGrowthDigits = 21;

constexpr std::array<std::pair<DType, std::string_view>, 12> kDescr = {{{DType::kBool, "|b1"},
                                                                        {DType::kU8, "|u1"},
                                                                        {DType::kI8, "|i1"},
                                                                        {DType::kI16, "<i2"},
                                                                        {DType::kI32, "<i4"},
                                                                        {DType::kI64, "<i8"},
                                                                        {DType::kF16, "<f2"},
                                                                        {DType::kF32, "<f4"},
                                                                        {DType::kF64, "<f8"},
                                                                        {DType::kU16, "<u2"},
                                                                        {DType::kU32, "<u4"},
                                                                        {DType::kU64, "<u8"}}};

struct NpyHeader {
  DType dtype = DType::kF32;
  bool fortran_order = false;
  Shape shape;
  std::size_t data_offset = 0;  // from the start of the header
  std::size_t data_size = 0;    // bytes of elements
};

// Parses the dict literal, one value at a time. It accepts only what numpy writes: no expressions,
// no escapes.
class Parser {
 public:
  Parser(std::string_view text, std::string_view where) : rest_(text), where_(where) {}

  NpyHeader parse() {
    NpyHeader header;
    bool seen[3] = {};
    expect('{');
    while (!accept('}')) {
      const std::string key = string();
      expect(':');
      if (key == "descr") {
        once(seen[0], key);
        header.dtype = dtype();
      } else if (key == "fortran_order") {
        once(seen[1], key);
        header.fortran_order = boolean();
      } else if (key == "shape") {
        once(seen[2], key);
        header.shape = tuple();
      } else {
        fail("key '" + shown(key) + "'", "descr, fortran_order and shape");
      }
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    if (!seen[0] || !seen[1] || !seen[2]) fail("a key is missing", "descr, fortran_order, shape");
    skip_space();
    if (!rest_.empty()) fail("text after the dict", "its end");
    return header;
  }

 private:
  [[noreturn]] void fail(std::string_view found, std::string_view expected) const {
    throw input_error(std::string(where_) + ": npy header", found, expected);
  }
  void skip_space() {
    rest_.remove_prefix(std::min(rest_.find_first_not_of(" \n\t"), rest_.size()));
  }
  bool accept(char c) {
    skip_space();
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!accept(c)) {
      fail(rest_.empty() ? "it ends" : fmt::format("'{}'", shown(rest_.substr(0, 20))),
           fmt::format("'{}'", c));
    }
  }
  void once(bool& seen, std::string_view key) const {
    if (std::exchange(seen, true)) fail(fmt::format("duplicate key '{}'", key), "each key once");
  }
  std::string string() {
    skip_space();
    const char quote = rest_.empty() ? '\0' : rest_.front();
    const std::size_t end = quote == '\'' || quote == '"' ? rest_.find(quote, 1) : rest_.npos;
    if (end == rest_.npos) fail(fmt::format("'{}'", shown(rest_.substr(0, 20))), "a string");
    std::string text(rest_.substr(1, end - 1));
    rest_.remove_prefix(end + 1);
    return text;
  }
  bool boolean() {
    skip_space();
    for (const bool value : {false, true}) {
      const std::string_view word = value ? "True" : "False";
      if (!rest_.starts_with(word)) continue;
      rest_.remove_prefix(word.size());
      return value;
    }
    fail(fmt::format("'{}'", shown(rest_.substr(0, 20))), "True or False");
  }
  DType dtype() {
    skip_space();
    if (!rest_.empty() && rest_.front() == '[') fail("a structured dtype", "a number's dtype");
    const std::string text = string();
    // numpy writes '<f4' and '|u1'. Other programs also write '<u1' (cnpy) or '=f4'.
    const bool little = !text.empty() && std::string_view("<=|").find(text[0]) != std::string::npos;
    // numpy has no BF16: ml_dtypes, the usual extension, saves it as two opaque bytes.
    if (little && text.substr(1) == "V2") return DType::kBF16;
    const auto* known = std::ranges::find_if(kDescr, [&](const auto& descr) {
      return little && descr.second.substr(1) == std::string_view(text).substr(1);
    });
    if (known == kDescr.end()) {
      fail("dtype '" + shown(text) + "'",
           "bool, a little-endian integer, or float of 2, 4 or 8 bytes");
    }
    return known->first;
  }
  Shape tuple() {
    Shape shape;
    expect('(');
    while (!accept(')')) {
      skip_space();
      std::int64_t axis = -1;
      const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), axis);
      if (error != std::errc() || axis < 0) fail("an axis that is not a size", "a tuple of sizes");
      rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
      shape.push_back(axis);
      if (shape.size() > kMaxAxes) fail("too many axes", fmt::format("at most {}", kMaxAxes));
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return shape;
  }

  std::string_view rest_;
  std::string_view where_;
};

NpyHeader parse_npy_header(std::span<const std::byte> bytes, std::string_view where) {
  const auto byte = [&](std::size_t i) { return static_cast<std::size_t>(bytes[i]); };
  if (bytes.size() < 12 || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
    throw input_error(where, "no npy header", "bytes that start with \\x93NUMPY");
  }
  const std::size_t version = byte(6);
  if (version < 1 || version > 3 || byte(7) != 0) {
    throw input_error(where, fmt::format("npy version {}.{}", version, byte(7)), "1.0, 2.0 or 3.0");
  }
  const std::size_t fixed = version == 1 ? kFixed1 : kFixed1 + 2;
  std::size_t length = byte(8) | byte(9) << 8;
  if (version > 1) length |= byte(10) << 16 | byte(11) << 24;
  if (length > kMaxNpyHeader || length > bytes.size() - fixed) {
    throw input_error(where, fmt::format("npy header of {} bytes", length),
                      fmt::format("at most {}, inside the file", kMaxNpyHeader));
  }
  const auto* text = reinterpret_cast<const char*>(bytes.data() + fixed);
  NpyHeader header = Parser({text, length}, where).parse();
  const auto count = static_cast<std::uint64_t>(element_count(header.shape, where));
  const std::size_t item = dtype_size(header.dtype);
  const auto data_size = product_of<std::uint64_t>(count, item);
  if (!data_size) {
    throw input_error(where, "shape " + shape_text(header.shape), "an array that fits in memory");
  }
  header.data_offset = fixed + length;
  header.data_size = *data_size;
  return header;
}

}  // namespace

std::string npy_header(const ArrayView& array) {
  const std::string where = "array '" + shown(array.name) + "'";
  const auto* known =
      std::ranges::find(kDescr, array.dtype, &std::pair<DType, std::string_view>::first);
  if (known == kDescr.end()) {
    throw input_error(where, fmt::format("dtype {}", dtype_name(array.dtype)),
                      "one that numpy has (store BF16 values as F32)");
  }
  if (array.shape.size() > kMaxAxes) {
    throw input_error(where, fmt::format("{} axes", array.shape.size()),
                      fmt::format("at most {}, as in numpy", kMaxAxes));
  }
  const auto count = static_cast<std::uint64_t>(element_count(array.shape, where));
  const std::size_t item = dtype_size(array.dtype);
  if (array.bytes.size() / item != count || array.bytes.size() % item != 0) {
    throw input_error(where, fmt::format("{} bytes", array.bytes.size()),
                      fmt::format("{} elements of {}, shape {}", count, dtype_name(array.dtype),
                                  shape_text(array.shape)));
  }
  std::string shape;
  for (const std::int64_t axis : array.shape) shape += fmt::format("{}, ", axis);
  if (array.shape.size() == 1) {
    shape.pop_back();  // (5,)
  } else if (!shape.empty()) {
    shape.resize(shape.size() - 2);
  }
  std::string dict = fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}",
                                 known->second, shape);
  if (!array.shape.empty()) {
    const std::size_t digits = std::to_string(array.shape[0]).size();
    dict.append(kGrowthDigits - digits, ' ');
  }
  dict.append(kAlign - (kFixed1 + dict.size() + 1) % kAlign, ' ').append("\n");
  // Version 1.0: with at most 64 axes the length always fits its two bytes.
  std::string header(kMagic);
  header.append({'\1', '\0'});
  header += static_cast<char>(dict.size() & 0xFF);
  header += static_cast<char>(dict.size() >> 8);
  return header + dict;
}

void copy_row_major(std::span<const std::byte> data, const Shape& shape, std::size_t item,
                    std::span<std::byte> to) {
  const std::size_t axes = shape.size();
  if (axes < 2) {
    std::ranges::copy(data, to.begin());
    return;
  }
  // Walk the data's order (first axis fastest) and scatter.
  std::vector<std::size_t> stride(axes, item);
  for (std::size_t a = axes - 1; a > 0; --a) {
    stride[a - 1] = stride[a] * static_cast<std::size_t>(shape[a]);
  }
  std::vector<std::int64_t> index(axes, 0);
  std::size_t at = 0;
  for (std::size_t from = 0; from < data.size(); from += item) {
    std::memcpy(&to[at], &data[from], item);
    for (std::size_t a = 0; a < axes; ++a) {
      at += stride[a];
      if (++index[a] < shape[a]) break;
      at -= stride[a] * static_cast<std::size_t>(shape[a]);
      index[a] = 0;
    }
  }
}

ArrayForm npy_form(std::span<const std::byte> bytes, std::string_view where) {
  NpyHeader header = parse_npy_header(bytes, where);
  return {header.dtype, std::move(header.shape)};
}

NpyData npy_data(std::string name, std::span<const std::byte> file, std::string_view where) {
  const NpyHeader header = parse_npy_header(file, where);
  if (file.size() - header.data_offset != header.data_size) {
    throw input_error(where, fmt::format("{} bytes of data", file.size() - header.data_offset),
                      fmt::format("{} for shape {} of {}", header.data_size,
                                  shape_text(header.shape), dtype_name(header.dtype)));
  }
  return {{std::move(name), header.dtype, header.shape, file.subspan(header.data_offset)},
          header.fortran_order && header.shape.size() > 1};
}

Array npy_array(std::string name, std::vector<std::byte> file, std::string_view where) {
  const NpyData data = npy_data(std::move(name), file, where);
  Array array{data.view.name, data.view.dtype, data.view.shape, {}};
  if (data.fortran_order) {
    array.bytes.resize(data.view.bytes.size());
    copy_row_major(data.view.bytes, array.shape, dtype_size(array.dtype), array.bytes);
  } else {
    file.erase(file.begin(), file.end() - static_cast<std::ptrdiff_t>(data.view.bytes.size()));
    array.bytes = std::move(file);
  }
  return array;
}

void write_npy(const std::filesystem::path& path, const ArrayView& array) {
  const std::string header = npy_header(array);
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(header)));
  file.write(array.bytes);
  file.commit();
}

Array read_npy(const std::filesystem::path& path) {
  const MappedFile file(path);
  return npy_array(path.stem().string(), {file.bytes().begin(), file.bytes().end()}, path.string());
}

}  // namespace assay
