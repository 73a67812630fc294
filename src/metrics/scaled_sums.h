// Sums of squares of numbers whose squares no double holds: below 1e-162, or above 1e154.
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
  // Its root, of a number that is not negative.
  double root() const;
};

// The sums of PairSums with an exponent of their own.
struct ScaledSums {
  ScaledSum error2;
  ScaledSum reference2;
  ScaledSum candidate2;
  ScaledSum product;

  void add(const ScaledSums& other);
};

// |error| / |reference|; 0 of no error, infinite of one where the reference is 0.
double relative(const ScaledSum& error2, const ScaledSum& reference2);

// Whether squares may have been lost, or have become infinite: x is not y, and a sum is as small or
// as large as only such numbers make it.
bool may_have_lost_squares(const PairSums& sums);

// Of x (the reference) and y, of equal length, each brought near 1 by a power of two. What PairSums
// leaves out is left out.
ScaledSums scaled_sums(std::span<const double> x, std::span<const double> y);

}  // namespace assay
