// A right dump with some of its arrays altered, as the input's bytes say.
#pragma once

#include <cstring>

#include "assay/array.h"
#include "assay/npz.h"
#include "target.h"

namespace assay {

// Changes one array.
inline void alter(std::vector<Array>& arrays, Choices& choices) {
  if (arrays.empty()) return;
  const std::size_t at = choices.below(arrays.size());
  Array& array = arrays[at];
  const std::size_t item = dtype_size(array.dtype);
  const std::size_t count = array.bytes.size() / item;
  switch (choices.below(12)) {
    case 0:
      arrays.erase(arrays.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 1:  // any bits in any element
      for (std::size_t n = 1 + choices.below(4); n > 0 && count > 0; --n) {
        const std::size_t element = choices.below(65536) % count;
        const std::span<const std::byte> bits = choices.bytes(item);
        std::copy(bits.begin(), bits.end(), &array.bytes[element * item]);
      }
      break;
    case 2:  // scaled
      if (array.dtype == DType::kF32) {
        const auto scale = choices.take<float>();
        for (float& value : array.as<float>()) value *= scale;
      }
      break;
    case 3:  // another shape of as many elements
      array.shape = {static_cast<std::int64_t>(count)};
      break;
    case 4:
      std::ranges::reverse(array.shape);
      break;
    case 5:
      array.shape.insert(array.shape.begin(), 1);
      break;
    case 6:  // one axis cut or drawn out
      if (!array.shape.empty()) {
        array.shape[choices.below(array.shape.size())] =
            static_cast<std::int64_t>(choices.below(20));
        const auto elements = static_cast<std::size_t>(element_count(array.shape, "altered"));
        if (elements <= 65536) {
          array.bytes.resize(elements * item);
        } else {
          array.shape = {static_cast<std::int64_t>(count)};
        }
      }
      break;
    case 7:  // another type of the same size or a smaller one
      array.dtype = static_cast<DType>(choices.below(15));
      if (array.dtype == DType::kBF16 || array.dtype == DType::kF8E4M3 ||
          array.dtype == DType::kF8E5M2) {
        array.dtype = DType::kF16;  // numpy's files have no others
      }
      array.bytes.resize(count * dtype_size(array.dtype));
      break;
    case 8:
      array.name = choices.text(1 + choices.below(40));
      break;
    case 9: {  // under another one's name
      const std::size_t other = choices.below(arrays.size());
      std::swap(array.name, arrays[other].name);
      break;
    }
    case 10: {  // what another one holds
      const Array& other = arrays[choices.below(arrays.size())];
      array.dtype = other.dtype;
      array.shape = other.shape;
      array.bytes = std::vector<std::byte>(other.bytes);
      break;
    }
    default:  // the same of all of them: one value
      for (std::size_t i = 0; i < count; ++i) {
        std::memmove(&array.bytes[i * item], array.bytes.data(), item);
      }
  }
}

inline std::vector<Array> altered_dump(const std::vector<Array>& right, Choices& choices) {
  std::vector<Array> arrays = right;
  for (std::size_t n = choices.below(6); n > 0; --n) alter(arrays, choices);
  return arrays;
}

inline void write_dump(const std::filesystem::path& path, const std::vector<Array>& arrays) {
  std::vector<ArrayView> views;
  for (const Array& array : arrays) views.push_back(array.view());
  write_npz(path, views, Compression::kNone, 1);
}

}  // namespace assay
