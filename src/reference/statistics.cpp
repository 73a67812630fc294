#include "reference/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "base/half.h"

namespace assay {
namespace {

// Calls body(get) with get(i) -> double for the array's dtype, so that the switch is outside loops.
template <class Body>
auto with_elements(const ArrayView& array, Body&& body) {
  const std::byte* data = array.bytes.data();
  const auto read = [data]<class T>(std::size_t i, T) {
    T value;
    std::memcpy(&value, data + i * sizeof(T), sizeof(T));
    return value;
  };
  switch (array.dtype) {
    case DType::kBool:
    case DType::kU8:
      return body([=](std::size_t i) { return static_cast<double>(read(i, std::uint8_t{})); });
    case DType::kI8:
      return body([=](std::size_t i) { return static_cast<double>(read(i, std::int8_t{})); });
    case DType::kI16:
      return body([=](std::size_t i) { return static_cast<double>(read(i, std::int16_t{})); });
    case DType::kI32:
      return body([=](std::size_t i) { return static_cast<double>(read(i, std::int32_t{})); });
    case DType::kI64:
      return body([=](std::size_t i) { return static_cast<double>(read(i, std::int64_t{})); });
    case DType::kF8E4M3:
      return body([=](std::size_t i) {
        return static_cast<double>(f8e4m3_to_f32(read(i, std::uint8_t{})));
      });
    case DType::kF8E5M2:
      return body([=](std::size_t i) {
        return static_cast<double>(f8e5m2_to_f32(read(i, std::uint8_t{})));
      });
    case DType::kF16:
      return body(
          [=](std::size_t i) { return static_cast<double>(f16_to_f32(read(i, std::uint16_t{}))); });
    case DType::kBF16:
      return body([=](std::size_t i) {
        return static_cast<double>(bf16_to_f32(read(i, std::uint16_t{})));
      });
    case DType::kF64:
      return body([=](std::size_t i) { return read(i, double{}); });
    case DType::kF32:
      break;
  }
  return body([=](std::size_t i) { return static_cast<double>(read(i, float{})); });
}

}  // namespace

Statistics statistics(const ArrayView& array) {
  const std::size_t count = array.bytes.size() / dtype_size(array.dtype);
  return with_elements(array, [&](auto get) {
    Statistics s;
    double low = std::numeric_limits<double>::infinity();
    double high = -low;
    double sum = 0;
    double squares = 0;
    std::size_t finite = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const double x = get(i);
      if (std::isnan(x)) {
        ++s.nan;
      } else if (std::isinf(x)) {
        ++s.inf;
      } else {
        ++finite;
        s.zeros += x == 0;
        low = std::min(low, x);
        high = std::max(high, x);
        sum += x;
        squares += x * x;
      }
    }
    if (finite > 0) {
      const auto n = static_cast<double>(finite);
      s.min = low;
      s.max = high;
      s.mean = sum / n;
      s.std = std::sqrt(std::max(0.0, squares / n - s.mean * s.mean));
    }
    return s;
  });
}

double element(const ArrayView& array, std::size_t i) {
  return with_elements(array, [&](auto get) { return get(i); });
}

std::vector<Channel> largest_channels(const ArrayView& array, std::size_t count) {
  const std::size_t width = array.shape.empty() ? 1 : static_cast<std::size_t>(array.shape.back());
  const std::size_t rows = width == 0 ? 0 : array.bytes.size() / dtype_size(array.dtype) / width;
  std::vector<Channel> channels(width);
  for (std::size_t c = 0; c < width; ++c) channels[c].index = c;
  with_elements(array, [&](auto get) {
    for (std::size_t row = 0; row < rows; ++row) {
      for (std::size_t c = 0; c < width; ++c) {
        const double x = get(row * width + c);
        if (std::abs(x) > std::abs(channels[c].value)) channels[c] = {c, x, row};
      }
    }
    return 0;
  });
  std::ranges::stable_sort(channels, std::greater(),
                           [](const Channel& c) { return std::abs(c.value); });
  channels.resize(std::min(count, width));
  return channels;
}

std::vector<std::int64_t> histogram(const ArrayView& array, double low, double high,
                                    std::size_t bins) {
  std::vector<std::int64_t> counts(bins, 0);
  const std::size_t size = array.bytes.size() / dtype_size(array.dtype);
  const double scale = high > low ? static_cast<double>(bins) / (high - low) : 0;
  with_elements(array, [&](auto get) {
    for (std::size_t i = 0; i < size; ++i) {
      const double x = get(i);
      if (!(x >= low && x <= high)) continue;
      ++counts[std::min(bins - 1, static_cast<std::size_t>((x - low) * scale))];
    }
    return 0;
  });
  return counts;
}

double relative_l2(const ArrayView& a, const ArrayView& b, std::size_t count) {
  constexpr double kMasked = -1e38;
  return with_elements(a, [&](auto get_a) {
    return with_elements(b, [&](auto get_b) {
      double error = 0;
      double norm = 0;
      for (std::size_t i = 0; i < count; ++i) {
        const double x = get_a(i);
        const double y = get_b(i);
        if (x < kMasked && y < kMasked) continue;
        error += (x - y) * (x - y);
        norm += y * y;
      }
      return error == 0 ? 0.0 : std::sqrt(error / norm);
    });
  });
}

}  // namespace assay
