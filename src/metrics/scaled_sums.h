// Sums of squares of numbers whose squares a double cannot represent: below 1e-162, or above 1e154.
#pragma once

#include <cstddef>
#include <span>

#include "metrics/pair_sums.h"

namespace assay {

// value * 2^exponent; not negative, or a product of any sign.
struct ScaledSum {
  double value = 0;
  int exponent = 0;

  void add(ScaledSum other);
  double as_double() const;
  // The square root; the number must not be negative.
  double root() const;
};

// The sums of PairSums, each with its own exponent.
struct ScaledSums {
  ScaledSum error2;
  ScaledSum reference2;
  ScaledSum candidate2;
  ScaledSum product;

  void add(const ScaledSums& other);
};

// |error| / |reference|; 0 without an error, infinite for an error when the reference is 0.
double relative(const ScaledSum& error2, const ScaledSum& reference2);

// Whether squares may have underflowed or overflowed: x differs from y, and a sum is so small or so
// large that only such numbers can have caused it.
bool may_have_lost_squares(const PairSums& sums);

// The sums of x (the reference) and y, of equal length, each scaled near 1 by a power of two. Skips
// the same pairs as PairSums.
ScaledSums scaled_sums(std::span<const double> x, std::span<const double> y);

}  // namespace assay
