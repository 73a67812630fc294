#include "reference/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <span>

#include "base/mapped_file.h"
#include "base/widen.h"
#include "numerics/noise.h"

namespace assay {
namespace {

constexpr std::size_t kBlock = 1024;
// Elements after which a mapped file's pages are given back.
constexpr std::size_t kStretch = std::size_t{1} << 20;

// Calls body(first, values) for the elements' values in order, `first` being the first one's index.
template <class Body>
void in_blocks(const ArrayView& array, std::size_t count, Body&& body) {
  const std::size_t item = dtype_size(array.dtype);
  std::array<double, kBlock> buffer;
  for (std::size_t first = 0; first < count; first += kBlock) {
    const std::span<double> values = std::span(buffer).first(std::min(kBlock, count - first));
    widen(array.dtype, array.bytes.data() + first * item, static_cast<std::ptrdiff_t>(item),
          values);
    body(first, values);
    if (array.mapped && (first + kBlock) % kStretch == 0) {
      give_back(array.bytes.subspan((first + kBlock - kStretch) * item, kStretch * item));
    }
  }
}

std::size_t size_of(const ArrayView& array) { return array.bytes.size() / dtype_size(array.dtype); }

}  // namespace

Statistics statistics(const ArrayView& array) {
  Statistics s;
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  double sum = 0;
  double squares = 0;
  std::size_t finite = 0;
  in_blocks(array, size_of(array), [&](std::size_t, std::span<const double> values) {
    for (const double x : values) {
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
  });
  if (finite > 0) {
    const auto n = static_cast<double>(finite);
    s.min = low;
    s.max = high;
    s.mean = sum / n;
    s.std = std::sqrt(std::max(0.0, squares / n - s.mean * s.mean));
  }
  return s;
}

double element(const ArrayView& array, std::size_t i) {
  std::array<double, 1> value;
  widen(array.dtype, array.bytes.data() + i * dtype_size(array.dtype), 0, std::span<double>(value));
  return value[0];
}

std::vector<Channel> largest_channels(const ArrayView& array, std::size_t count) {
  const std::size_t width = array.shape.empty() ? 1 : static_cast<std::size_t>(array.shape.back());
  std::vector<Channel> channels(width);
  for (std::size_t c = 0; c < width; ++c) channels[c].index = c;
  std::size_t c = 0;
  std::size_t row = 0;
  in_blocks(array, size_of(array), [&](std::size_t, std::span<const double> values) {
    for (const double x : values) {
      if (std::abs(x) > std::abs(channels[c].value)) channels[c] = {c, x, row};
      if (++c == width) {
        c = 0;
        ++row;
      }
    }
  });
  std::ranges::stable_sort(channels, std::greater(),
                           [](const Channel& channel) { return std::abs(channel.value); });
  channels.resize(std::min(count, width));
  return channels;
}

std::vector<std::int64_t> histogram(const ArrayView& array, double low, double high,
                                    std::size_t bins) {
  std::vector<std::int64_t> counts(bins, 0);
  const double scale = high > low ? static_cast<double>(bins) / (high - low) : 0;
  in_blocks(array, size_of(array), [&](std::size_t, std::span<const double> values) {
    for (const double x : values) {
      if (!(x >= low && x <= high)) continue;
      ++counts[std::min(bins - 1, static_cast<std::size_t>((x - low) * scale))];
    }
  });
  return counts;
}

double relative_l2(const ArrayView& a, const ArrayView& b, std::size_t count) {
  double error = 0;
  double norm = 0;
  std::array<double, kBlock> other;
  const std::size_t item = dtype_size(b.dtype);
  in_blocks(a, count, [&](std::size_t first, std::span<const double> values) {
    widen(b.dtype, b.bytes.data() + first * item, static_cast<std::ptrdiff_t>(item),
          std::span(other).first(values.size()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double x = values[i];
      const double y = other[i];
      if (x < kOwnHiddenScore && y < kOwnHiddenScore) continue;
      error += (x - y) * (x - y);
      norm += y * y;
    }
  });
  return error == 0 ? 0.0 : std::sqrt(error / norm);
}

}  // namespace assay
