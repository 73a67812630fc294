// The one source of the sums, compiled once per instruction set with ASSAY_VECTOR_BYTES, its
// register's size.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "verify/pair_sums.h"

namespace assay {
namespace {

constexpr std::size_t kGroup = 64;
constexpr std::size_t kLanes = 16;

// BF16 values in order: neighbours differ by 1, and -0 is +0.
inline std::int32_t bf16_rank(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto magnitude =
      static_cast<std::int32_t>(((bits & 0x7FFFFFFFu) + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
  return bits >> 31 != 0 ? -magnitude : magnitude;
}

inline void one_pair(double x, double y, std::size_t index, double& channel_error2, PairSums& s) {
  if (x < PairSums::kHidden && !std::isinf(x)) {
    // NaN hides nothing.
    ++(y < PairSums::kHides ? s.hidden : s.not_hidden);
    s.nan_candidate += std::isnan(y);
    return;
  }
  if (!std::isfinite(x) || !std::isfinite(y)) {
    s.nan_reference += std::isnan(x);
    s.nan_candidate += std::isnan(y);
    s.inf_reference += std::isinf(x);
    s.inf_candidate += std::isinf(y);
    s.unlike += !((std::isnan(x) && std::isnan(y)) || x == y);
    return;
  }
  const double error = x - y;
  s.error2 += error * error;
  s.reference2 += x * x;
  s.candidate2 += y * y;
  s.product += x * y;
  channel_error2 += error * error;
  if (std::abs(error) > s.max_error) {
    s.max_error = std::abs(error);
    s.max_index = index;
  }
  const auto ulp = static_cast<std::uint32_t>(
      std::abs(bf16_rank(static_cast<float>(x)) - bf16_rank(static_cast<float>(y))));
  s.ulp_sum += ulp;
  s.ulp_max = std::max(s.ulp_max, ulp);
  s.equal += x == y;
  ++s.compared;
}

// A register's worth of lanes, in the compiler's vector type: every operation is per lane, as IEEE
// says, whatever instructions it becomes.
constexpr std::size_t kWidth = ASSAY_VECTOR_BYTES / sizeof(double);
constexpr std::size_t kRegisters = kLanes / kWidth;
using Doubles [[gnu::vector_size(kWidth * 8)]] = double;
using Longs [[gnu::vector_size(kWidth * 8)]] = std::int64_t;
using Floats [[gnu::vector_size(kWidth * 4)]] = float;
using Ints [[gnu::vector_size(kWidth * 4)]] = std::int32_t;

constexpr std::int64_t kMagnitude = std::numeric_limits<std::int64_t>::max();

inline Floats load_floats(const Unaligned<float>* from) {
  Floats v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
inline Floats load_floats(const Unaligned<double>* from) {
  Doubles v;
  std::memcpy(&v, from, sizeof v);
  return __builtin_convertvector(v, Floats);
}
inline Doubles load_doubles(const Unaligned<float>* from) {
  return __builtin_convertvector(load_floats(from), Doubles);
}
inline Doubles load_doubles(const Unaligned<double>* from) {
  Doubles v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

inline void add_to(double* to, Doubles x) {
  Doubles v;
  std::memcpy(&v, to, sizeof v);
  v += x;
  std::memcpy(to, &v, sizeof v);
}

inline Ints bf16_ranks(Floats x) {
  const Ints bits = std::bit_cast<Ints>(x);
  const Ints magnitude = ((bits & 0x7FFFFFFF) + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  const Ints sign = bits >> 31;
  return (magnitude ^ sign) - sign;
}

// a where the mask's bits are set, b elsewhere. (The compiler turns ?: on vectors into branches.)
template <class Vector>
Vector choose(Vector mask, Vector a, Vector b) {
  return (mask & a) | (~mask & b);
}

// True when no element of the group is NaN, infinite or hidden.
template <class Real>
bool all_plain(const Unaligned<Real>* x, const Unaligned<Real>* y) {
  constexpr double kLargest = std::numeric_limits<Real>::max();
  Longs plain = Longs{} == Longs{};
  for (std::size_t i = 0; i < kGroup; i += kWidth) {
    const Doubles a = load_doubles(x + i);
    const Doubles b = load_doubles(y + i);
    plain &= (a >= PairSums::kHidden) & (a <= kLargest) & (b >= -kLargest) & (b <= kLargest);
  }
  std::int64_t all = -1;
  for (std::size_t l = 0; l < kWidth; ++l) all &= plain[l];
  return all != 0;
}

struct Lanes {
  Doubles error2[kRegisters] = {};
  Doubles reference2[kRegisters] = {};
  Doubles candidate2[kRegisters] = {};
  Doubles product[kRegisters] = {};
  Doubles max_error[kRegisters] = {};
  Longs max_at[kRegisters] = {};
  Ints ulp_sum[kRegisters] = {};
  Ints ulp_max[kRegisters] = {};
  Ints equal[kRegisters] = {};
};

template <class Real>
void one_group(const Unaligned<Real>* x, const Unaligned<Real>* y, std::size_t at,
               double* __restrict channel_error2, Lanes& all) {
  Lanes lanes = all;
  for (std::size_t i = 0; i < kGroup; i += kLanes) {
    for (std::size_t r = 0; r < kRegisters; ++r) {
      const std::size_t k = i + r * kWidth;
      const Doubles a = load_doubles(x + k);
      const Doubles b = load_doubles(y + k);
      const Doubles error = a - b;
      const Doubles error2 = error * error;
      lanes.error2[r] += error2;
      lanes.reference2[r] += a * a;
      lanes.candidate2[r] += b * b;
      lanes.product[r] += a * b;
      add_to(channel_error2 + k, error2);
      const Doubles distance = std::bit_cast<Doubles>(std::bit_cast<Longs>(error) & kMagnitude);
      const Longs larger = distance > lanes.max_error[r];
      lanes.max_at[r] =
          choose(larger, Longs{} + static_cast<std::int64_t>(at + i), lanes.max_at[r]);
      lanes.max_error[r] = std::bit_cast<Doubles>(
          choose(larger, std::bit_cast<Longs>(distance), std::bit_cast<Longs>(lanes.max_error[r])));
      lanes.equal[r] -= __builtin_convertvector(a == b, Ints);
      const Ints step = bf16_ranks(load_floats(x + k)) - bf16_ranks(load_floats(y + k));
      const Ints ulp = (step ^ (step >> 31)) - (step >> 31);
      lanes.ulp_sum[r] += ulp;
      lanes.ulp_max[r] = choose(ulp > lanes.ulp_max[r], ulp, lanes.ulp_max[r]);
    }
  }
  all = lanes;
}

// The lanes in order, then added in the tree.
template <class T, class Vectors>
T tree(const Vectors& vectors) {
  T lanes[kLanes];
  for (std::size_t l = 0; l < kLanes; ++l)
    lanes[l] = static_cast<T>(vectors[l / kWidth][l % kWidth]);
  for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::size_t l = 0; l < width; ++l) lanes[l] += lanes[l + width];
  }
  return lanes[0];
}

// The lanes' elements lie before those that s has seen one by one, or between them: max_index is
// the lowest of equals either way.
inline void add_lanes(Lanes& lanes, std::size_t elements, PairSums& s) {
  if (elements == 0) return;
  for (std::size_t l = 0; l < kLanes; ++l) {
    const std::size_t r = l / kWidth;
    const double error = lanes.max_error[r][l % kWidth];
    const std::size_t index = static_cast<std::size_t>(lanes.max_at[r][l % kWidth]) + l;
    if (error > s.max_error || (error == s.max_error && index < s.max_index)) {
      s.max_error = error;
      s.max_index = index;
    }
    s.ulp_max = std::max(s.ulp_max, static_cast<std::uint32_t>(lanes.ulp_max[r][l % kWidth]));
  }
  s.error2 += tree<double>(lanes.error2);
  s.reference2 += tree<double>(lanes.reference2);
  s.candidate2 += tree<double>(lanes.candidate2);
  s.product += tree<double>(lanes.product);
  s.ulp_sum += tree<std::uint64_t>(lanes.ulp_sum);
  s.equal += tree<std::int64_t>(lanes.equal);
  s.compared += static_cast<std::int64_t>(elements);
}

template <class Real>
void sums_of(const Unaligned<Real>* x, const Unaligned<Real>* y, std::size_t n, std::size_t first,
             double* channel_error2, PairSums& total) {
  Lanes lanes;
  for (Longs& at : lanes.max_at) at += static_cast<std::int64_t>(first);
  std::size_t grouped = 0;
  PairSums s;
  std::size_t i = 0;
  const auto one_by_one = [&](std::size_t end) {
    for (; i < end; ++i) {
      one_pair(Real{x[i]}, Real{y[i]}, first + i, channel_error2[i], s);
    }
  };
  while (i + kGroup <= n) {
    if (!all_plain(x + i, y + i)) {
      one_by_one(i + kGroup);
      continue;
    }
    one_group(x + i, y + i, first + i, channel_error2 + i, lanes);
    grouped += kGroup;
    i += kGroup;
  }
  one_by_one(n);
  add_lanes(lanes, grouped, s);
  total.add(s);
}

}  // namespace
}  // namespace assay
