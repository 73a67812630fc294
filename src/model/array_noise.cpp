#include "model/array_noise.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/widen.h"
#include "numerics/noise.h"

namespace assay {
namespace {

constexpr double kFloor = one_rounding(Grid::kF32);
constexpr double kHalfOctave = std::numbers::sqrt2;
constexpr std::string_view kDigits = "0123456789abcdefghijklmnopqrstuvwxyz";

// |error| / |size|, given their squares.
double relative(double error, double size) {
  if (error == 0) return kFloor;
  return std::max(std::sqrt(error / size), kFloor);  // infinite if only the run is not 0
}

}  // namespace

ArrayNoise array_noise(const ArrayView& run, const ArrayView& oracle, std::size_t position_axis) {
  std::size_t lead = 1;
  std::size_t width = 1;
  for (std::size_t a = 0; a < oracle.shape.size(); ++a) {
    const auto size = static_cast<std::size_t>(oracle.shape[a]);
    if (a < position_axis) lead *= size;
    if (a > position_axis) width *= size;
  }
  const auto positions = static_cast<std::size_t>(oracle.shape.at(position_axis));
  std::vector<double> error(positions);
  std::vector<double> size(positions);
  std::vector<double> x(width);
  std::vector<double> y(width);
  const auto read = [&](const ArrayView& array, std::size_t row, std::vector<double>& to) {
    const std::size_t item = dtype_size(array.dtype);
    widen(array.dtype, array.bytes.data() + row * width * item, static_cast<std::ptrdiff_t>(item),
          std::span(to));
  };
  for (std::size_t row = 0; row < lead * positions; ++row) {
    read(run, row, x);
    read(oracle, row, y);
    for (std::size_t i = 0; i < width; ++i) {
      if (x[i] < kOwnHiddenScore && y[i] < kOwnHiddenScore) continue;
      error[row % positions] += (x[i] - y[i]) * (x[i] - y[i]);
      size[row % positions] += y[i] * y[i];
    }
  }
  ArrayNoise noise;
  double all_error = 0;
  double all_size = 0;
  for (std::size_t p = 0; p < positions; ++p) {
    noise.positions.push_back(relative(error[p], size[p]));
    all_error += error[p];
    all_size += size[p];
  }
  noise.whole = relative(all_error, all_size);
  return noise;
}

std::string positions_text(const ArrayNoise& noise) {
  std::string text;
  for (const double value : noise.positions) {
    std::size_t digit = 0;
    // Multiplies, because the last bits of a logarithm differ between machines.
    for (double limit = kFloor; !(value <= limit) && digit + 1 < kDigits.size(); ++digit) {
      limit *= kHalfOctave;
    }
    text += kDigits[digit];
  }
  return text;
}

std::optional<std::vector<double>> read_positions(std::string_view text) {
  std::vector<double> values;
  for (const char c : text) {
    const std::size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    double value = kFloor;
    for (std::size_t i = 0; i < digit; ++i) value *= kHalfOctave;
    values.push_back(value);
  }
  return values;
}

}  // namespace assay
