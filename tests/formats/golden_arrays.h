// The arrays of tests/formats/data, as python/make_npz_goldens.py makes them.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "assay/array.h"
#include "assay/error.h"

namespace assay {

inline std::filesystem::path golden(std::string_view name) {
  return std::filesystem::path(ASSAY_TEST_DATA) / "formats/data" / name;
}

// Bytes 7 i + 3 mod 256, whatever they mean as numbers; bools alternate.
inline Array pattern(std::string name, DType dtype, Shape shape) {
  const auto count = static_cast<std::size_t>(element_count(shape, name));
  Array array{std::move(name), dtype, std::move(shape), {}};
  for (std::size_t i = 0; i < count * dtype_size(dtype); ++i) {
    array.bytes.push_back(static_cast<std::byte>(dtype == DType::kBool ? i % 2 : i * 7 + 3));
  }
  return array;
}

inline std::vector<Array> golden_arrays() {
  return {pattern("scalar", DType::kF32, {}),
          pattern("flag", DType::kBool, {3}),
          pattern("u8", DType::kU8, {5}),
          pattern("i8", DType::kI8, {2, 2}),
          pattern("i16", DType::kI16, {4}),
          pattern("i32", DType::kI32, {1, 3}),
          pattern("input_ids", DType::kI64, {1, 6}),
          pattern("f16", DType::kF16, {7}),
          pattern("layer_00_output", DType::kF32, {1, 4, 33}),
          pattern("f64", DType::kF64, {2, 1, 3, 1}),
          pattern("empty", DType::kF32, {0}),
          pattern("empty_axis", DType::kF64, {3, 0, 2}),
          pattern("größe_层", DType::kF32, {2}),
          pattern("with/slash.dot", DType::kF32, {1000})};
}

inline std::vector<ArrayView> views(const std::vector<Array>& arrays) {
  std::vector<ArrayView> result;
  for (const Array& array : arrays) result.push_back(array.view());
  return result;
}

}  // namespace assay
