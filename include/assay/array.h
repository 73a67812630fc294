// Element types and named arrays: the currency between checkpoint, forward pass and files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace assay {

// Element types of checkpoints and of recorded arrays. All files are little-endian.
// kF8E4M3 is OCP's "fn" variant: no infinities, largest finite value 448.
enum class DType : std::uint8_t {
  kBool,
  kU8,
  kI8,
  kI16,
  kI32,
  kI64,
  kF8E4M3,
  kF8E5M2,
  kF16,
  kBF16,
  kF32,
  kF64,
  kU16,
  kU32,
  kU64
};

// Bytes of one element.
std::size_t dtype_size(DType dtype) noexcept;

// The name as safetensors spells it: "BOOL", "I64", "F8_E4M3", "BF16", "F32", ...
std::string_view dtype_name(DType dtype) noexcept;

// Signed or unsigned integers; false for BOOL.
bool is_integer(DType dtype) noexcept;

using Shape = std::vector<std::int64_t>;

// "[1, 5, 64]", for messages.
std::string shape_text(std::span<const std::int64_t> shape);

// Number of elements; a shape without axes is a scalar (1). Throws an input error when an axis is
// negative or the product overflows 63 bits. `where` names the tensor in the message.
std::int64_t element_count(std::span<const std::int64_t> shape, std::string_view where);

// An array's type and shape.
struct ArrayForm {
  DType dtype = DType::kF32;
  Shape shape;
};

// A named array that somebody else owns, row-major and contiguous.
struct ArrayView {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::span<const std::byte> bytes;
  // Part of a file's mapping: its pages may be released and are read again when needed.
  bool mapped = false;

  // The elements as T; sizeof(T) must be dtype_size(dtype) and the data aligned for T.
  template <class T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
};

// A named array that owns its elements, row-major and contiguous.
struct Array {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::vector<std::byte> bytes;

  // See ArrayView::as.
  template <class T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
  template <class T>
  std::span<T> as() {
    return {reinterpret_cast<T*>(bytes.data()), bytes.size() / sizeof(T)};
  }
  // Valid as long as this array is neither moved nor changed.
  ArrayView view() const { return {name, dtype, shape, bytes, false}; }
};

// An array from a file, row-major: in the file's mapping if it is stored that way, otherwise in
// `owned` or, if it is large, in a temporary file that `held` keeps.
struct LoadedArray {
  ArrayView view;
  std::vector<std::byte> owned;
  std::shared_ptr<const void> held;
};

}  // namespace assay
