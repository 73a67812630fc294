#include "metrics/scaled_sums.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace assay {
namespace {

// Squares add up to this and stay exact enough: far from the smallest normal double, and from the
// largest.
constexpr double kSmallest = 1e-280;

bool is_left_out(double x, double y) {
  return !std::isfinite(x) || !std::isfinite(y) || x < PairSums::kHidden;
}

}  // namespace

void ScaledSum::add(ScaledSum other) {
  if (exponent == other.exponent) {
    value += other.value;
    return;
  }
  if (other.value == 0) return;
  if (value == 0) {
    *this = other;
    return;
  }
  const int most = std::max(exponent, other.exponent);
  value = std::ldexp(value, exponent - most) + std::ldexp(other.value, other.exponent - most);
  exponent = most;
}

double ScaledSum::as_double() const { return std::ldexp(value, exponent); }

// Exponents are even: those of squares.
double ScaledSum::root() const { return std::ldexp(std::sqrt(value), exponent / 2); }

void ScaledSums::add(const ScaledSums& other) {
  error2.add(other.error2);
  reference2.add(other.reference2);
  candidate2.add(other.candidate2);
  product.add(other.product);
}

double relative(const ScaledSum& error2, const ScaledSum& reference2) {
  if (error2.value == 0) return 0;
  if (reference2.value == 0) return std::numeric_limits<double>::infinity();
  return ScaledSum{error2.value / reference2.value, error2.exponent - reference2.exponent}.root();
}

bool may_have_lost_squares(const PairSums& sums) {
  if (sums.equal == sums.compared) return false;
  const double least = std::min({sums.error2, sums.reference2, sums.candidate2});
  const double most = std::max({sums.error2, sums.reference2, sums.candidate2});
  return least < kSmallest || !std::isfinite(most) || !std::isfinite(sums.product);
}

ScaledSums scaled_sums(std::span<const double> x, std::span<const double> y) {
  double most_x = 0;
  double most_y = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (is_left_out(x[i], y[i])) continue;
    most_x = std::max(most_x, std::abs(x[i]));
    most_y = std::max(most_y, std::abs(y[i]));
  }
  const int power_x = most_x > 0 ? std::ilogb(most_x) : 0;
  const int power_y = most_y > 0 ? std::ilogb(most_y) : 0;
  const double most = std::max(most_x, most_y);
  // The difference of two numbers of this size is 0, or at least 2^-53 of it.
  const int power = most > 0 ? std::ilogb(most) : 0;
  double error2 = 0;
  double reference2 = 0;
  double candidate2 = 0;
  double product = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (is_left_out(x[i], y[i])) continue;
    const double error = std::ldexp(x[i], -power) - std::ldexp(y[i], -power);
    const double a = std::ldexp(x[i], -power_x);
    const double b = std::ldexp(y[i], -power_y);
    error2 += error * error;
    reference2 += a * a;
    candidate2 += b * b;
    product += a * b;
  }
  return {{error2, 2 * power},
          {reference2, 2 * power_x},
          {candidate2, 2 * power_y},
          {product, power_x + power_y}};
}

}  // namespace assay
