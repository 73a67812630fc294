// Changes that engines make to the arrays that they write: padding, other types and orders, fusing.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "assay/array.h"

namespace assay {

using Arrays = std::map<std::string, Array>;

// The padding token.
constexpr std::int64_t kPad = 3;

inline bool is_attention(const std::string& name) {
  return name.ends_with("attn_scores") || name.ends_with("attn_probs");
}

// Moves elements of any size: the function maps an index of the new shape to an element of the old
// array, or to -1 for `filler`.
inline Array gathered(const Array& from, const Shape& shape,
                      const std::function<std::int64_t(const Shape&)>& element, double filler) {
  Array to{from.name, from.dtype, shape, {}};
  const std::size_t item = dtype_size(from.dtype);
  const std::int64_t count = element_count(shape, "shape");
  to.bytes.resize(static_cast<std::size_t>(count) * item);
  Shape index(shape.size());
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t at = element(index);
    std::byte* out = &to.bytes[static_cast<std::size_t>(i) * item];
    if (at >= 0) {
      std::memcpy(out, &from.bytes[static_cast<std::size_t>(at) * item], item);
    } else if (from.dtype == DType::kI64) {
      const auto value = static_cast<std::int64_t>(filler);
      std::memcpy(out, &value, item);
    } else {
      const auto value = static_cast<float>(filler);
      std::memcpy(out, &value, item);
    }
    for (std::size_t a = shape.size(); a-- > 0;) {
      if (++index[a] < shape[a]) break;
      index[a] = 0;
    }
  }
  return to;
}

inline std::int64_t flat(const Shape& shape, const Shape& index) {
  std::int64_t at = 0;
  for (std::size_t a = 0; a < shape.size(); ++a) at = at * shape[a] + index[a];
  return at;
}

// Adds this many elements before and after, along an axis.
inline Array padded(const Array& from, std::size_t axis, std::int64_t front, std::int64_t back,
                    double filler) {
  Shape shape = from.shape;
  shape[axis] += front + back;
  return gathered(
      from, shape,
      [&](const Shape& index) {
        Shape inner = index;
        inner[axis] -= front;
        const bool inside = inner[axis] >= 0 && inner[axis] < from.shape[axis];
        return inside ? flat(from.shape, inner) : -1;
      },
      filler);
}

inline void pad_positions(Arrays& arrays, std::int64_t front, std::int64_t back) {
  for (auto& [name, array] : arrays) {
    const bool ids = name == "input_ids";
    if (is_attention(name)) {
      const double hidden = name.ends_with("probs") ? 0 : -INFINITY;
      array = padded(padded(array, 3, front, back, hidden), 2, front, back, 0.5);
    } else {
      array = padded(array, 1, front, back, ids ? kPad : 0.25);
    }
  }
}

template <class T>
void ids_as(Arrays& arrays, DType dtype) {
  Array& ids = arrays.at("input_ids");
  Array narrow{ids.name, dtype, ids.shape, {}};
  narrow.bytes.resize(ids.bytes.size() / 8 * sizeof(T));
  std::ranges::transform(ids.as<std::int64_t>(), narrow.as<T>().begin(),
                         [](std::int64_t id) { return static_cast<T>(id); });
  ids = std::move(narrow);
}

inline void transpose(Array& array) {
  const Shape old = array.shape;
  Shape other(old.rbegin(), old.rend());
  array = gathered(
      array, other,
      [&](const Shape& index) { return flat(old, Shape(index.rbegin(), index.rend())); }, 0);
}

// Several taps in one array, as a fused projection returns them. column(part, element): its place
// in a row.
inline void fuse(Arrays& arrays, const std::string& name, const std::vector<std::string>& taps,
                 const std::function<std::size_t(std::size_t part, std::size_t element)>& column) {
  std::size_t width = 0;
  std::vector<Array> parts;
  for (const std::string& tap : taps) {
    parts.push_back(arrays.at(tap));
    width += static_cast<std::size_t>(parts.back().shape.back());
    arrays.erase(tap);
  }
  Array whole{name, DType::kF32, parts[0].shape, {}};
  whole.shape.back() = static_cast<std::int64_t>(width);
  const std::size_t rows =
      parts[0].bytes.size() / sizeof(float) / static_cast<std::size_t>(parts[0].shape.back());
  whole.bytes.resize(rows * width * sizeof(float));
  for (std::size_t p = 0; p < parts.size(); ++p) {
    const auto own = static_cast<std::size_t>(parts[p].shape.back());
    for (std::size_t i = 0; i < rows * own; ++i) {
      whole.as<float>()[i / own * width + column(p, i % own)] = parts[p].as<float>()[i];
    }
  }
  arrays[name] = std::move(whole);
}

inline std::vector<std::string> taps_of(int layer, std::initializer_list<const char*> bases) {
  std::vector<std::string> taps;
  for (const char* base : bases) taps.push_back(fmt::format("layer_{:02}_{}", layer, base));
  return taps;
}

// Reverses each token's experts.
inline Array with_slots_turned(const Array& array) {
  return gathered(
      array, array.shape,
      [&](const Shape& index) {
        Shape other = index;
        other[2] = array.shape[2] - 1 - index[2];
        return flat(array.shape, other);
      },
      0);
}

}  // namespace assay
