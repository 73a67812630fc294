// The one source of the sums, compiled once per instruction set with ASSAY_VECTOR_BYTES, its
// register's size.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/half.h"
#include "verify/pair_sums.h"

namespace assay {
namespace {

constexpr std::size_t kBlock = 256;
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

// Registers of doubles and of as many bytes of floats, in the compiler's vector types: every
// operation is per lane, as IEEE says, whatever instructions it becomes.
constexpr std::size_t kBytes = ASSAY_VECTOR_BYTES;
constexpr std::size_t kWidth = kBytes / sizeof(double);
constexpr std::size_t kRegisters = kLanes / kWidth;
constexpr std::size_t kFloatRegisters = kRegisters / 2;
using Doubles [[gnu::vector_size(kBytes)]] = double;
using Longs [[gnu::vector_size(kBytes)]] = std::int64_t;
using Floats [[gnu::vector_size(kBytes)]] = float;
using Ints [[gnu::vector_size(kBytes)]] = std::int32_t;
using HalfFloats [[gnu::vector_size(kBytes / 2)]] = float;

template <class Vector, class From>
Vector load(const From* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
// What the compiler makes several instructions of is spelled out where one does.
inline Doubles load_doubles(const Unaligned<float>* from) {
  const auto values = load<HalfFloats>(from);
#if ASSAY_VECTOR_BYTES == 64 && defined(__AVX512F__)
  return _mm512_cvtps_pd(values);
#elif ASSAY_VECTOR_BYTES == 32 && defined(__AVX2__)
  return _mm256_cvtps_pd(values);
#else
  return __builtin_convertvector(values, Doubles);
#endif
}
inline Doubles load_doubles(const Unaligned<double>* from) { return load<Doubles>(from); }
inline Floats load_floats(const Unaligned<float>* from) { return load<Floats>(from); }
inline Floats load_floats(const Unaligned<double>* from) {
  float values[2 * kWidth];
  for (std::size_t l = 0; l < 2 * kWidth; ++l) values[l] = static_cast<float>(double{from[l]});
  return load<Floats>(values);
}

inline Doubles magnitude(Doubles x) {
  constexpr std::int64_t kMagnitude = std::numeric_limits<std::int64_t>::max();
  return std::bit_cast<Doubles>(std::bit_cast<Longs>(x) & kMagnitude);
}

inline Doubles larger(Doubles a, Doubles b) {
#if ASSAY_VECTOR_BYTES == 64 && defined(__AVX512F__)
  return _mm512_max_pd(a, b);
#elif ASSAY_VECTOR_BYTES == 32 && defined(__AVX2__)
  return _mm256_max_pd(a, b);
#else
  const Longs mask = a > b;
  return std::bit_cast<Doubles>((mask & std::bit_cast<Longs>(a)) |
                                (~mask & std::bit_cast<Longs>(b)));
#endif
}
inline Ints larger(Ints a, Ints b) {
  const Ints mask = a > b;
  return (mask & a) | (~mask & b);
}

inline Ints bf16_ranks(Floats x) {
  const Ints bits = std::bit_cast<Ints>(x);
  const Ints rounded = ((bits & 0x7FFFFFFF) + 0x7FFF + ((bits >> 16) & 1)) >> 16;
  const Ints sign = bits >> 31;
  return (rounded ^ sign) - sign;
}

// The lanes in order, then added in the tree.
template <class T, class Vectors>
T tree(const Vectors& vectors) {
  constexpr std::size_t kPerVector = kLanes / std::extent_v<Vectors>;
  T lanes[kLanes];
  for (std::size_t l = 0; l < kLanes; ++l) {
    lanes[l] = static_cast<T>(vectors[l / kPerVector][l % kPerVector]);
  }
  for (std::size_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::size_t l = 0; l < width; ++l) lanes[l] += lanes[l + width];
  }
  return lanes[0];
}

// Sums by lane, of a block or of the blocks of a call.
struct Lanes {
  Doubles error2[kRegisters] = {};
  Doubles reference2[kRegisters] = {};
  Doubles candidate2[kRegisters] = {};
  Doubles product[kRegisters] = {};
  Doubles max_error[kRegisters] = {};
  Ints steps[kFloatRegisters] = {};
  Ints max_steps[kFloatRegisters] = {};
  Ints unequal[kFloatRegisters] = {};  // each counts as -1
};

template <class Real>
Lanes real_sums(const Unaligned<Real>* x, const Unaligned<Real>* y) {
  Lanes sums;
  for (std::size_t i = 0; i < kBlock; i += kLanes) {
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRegisters; ++r) {
      const Doubles a = load_doubles(x + i + r * kWidth);
      const Doubles b = load_doubles(y + i + r * kWidth);
      const Doubles error = a - b;
      sums.error2[r] += error * error;
      sums.reference2[r] += a * a;
      sums.candidate2[r] += b * b;
      sums.product[r] += a * b;
      sums.max_error[r] = larger(magnitude(error), sums.max_error[r]);
    }
  }
  return sums;
}

// NaN and infinity make a sum of squares that is none; a hidden value one above its own square.
inline bool all_plain(const Lanes& block) {
  Longs plain = Longs{} == Longs{};
  for (std::size_t r = 0; r < kRegisters; ++r) {
    plain &= (block.reference2[r] < PairSums::kHidden * PairSums::kHidden) &
             (block.candidate2[r] <= std::numeric_limits<double>::max());
  }
  std::int64_t all = -1;
  for (std::size_t l = 0; l < kWidth; ++l) all &= plain[l];
  return all != 0;
}

template <class Real>
void add_steps(const Unaligned<Real>* x, const Unaligned<Real>* y, Lanes& lanes) {
  for (std::size_t i = 0; i < kBlock; i += kLanes) {
#pragma GCC unroll 4
    for (std::size_t r = 0; r < kFloatRegisters; ++r) {
      const std::size_t k = i + r * 2 * kWidth;
      const Floats a = load_floats(x + k);
      const Floats b = load_floats(y + k);
      const Ints step = bf16_ranks(a) - bf16_ranks(b);
      const Ints steps = (step ^ (step >> 31)) - (step >> 31);
      lanes.steps[r] += steps;
      lanes.max_steps[r] = larger(steps, lanes.max_steps[r]);
      if constexpr (sizeof(Real) == 4) lanes.unequal[r] += a != b;
    }
  }
}

template <class Real>
void add_channels(const Unaligned<Real>* x, const Unaligned<Real>* y, double* channel_error2) {
  for (std::size_t i = 0; i < kBlock; i += kWidth) {
    const Doubles error = load_doubles(x + i) - load_doubles(y + i);
    const Doubles sum = load<Doubles>(channel_error2 + i) + error * error;
    std::memcpy(channel_error2 + i, &sum, sizeof sum);
  }
}

// Of the first pair of the block that is `error` apart.
template <class Real>
std::size_t index_of(double error, const Unaligned<Real>* x, const Unaligned<Real>* y) {
  std::size_t i = 0;
  while (std::abs(double{Real{x[i]}} - double{Real{y[i]}}) != error) ++i;
  return i;
}

inline double largest_of(const Lanes& lanes) {
  double largest = 0;
  for (std::size_t l = 0; l < kLanes; ++l) {
    largest = std::max(largest, lanes.max_error[l / kWidth][l % kWidth]);
  }
  return largest;
}

inline bool any_larger(const Lanes& block, const Lanes& lanes) {
  Longs found = {};
  for (std::size_t r = 0; r < kRegisters; ++r) found |= block.max_error[r] > lanes.max_error[r];
  std::int64_t any = 0;
  for (std::size_t l = 0; l < kWidth; ++l) any |= found[l];
  return any != 0;
}

// What sums_of keeps while it goes through the blocks of a call.
struct Progress {
  Lanes lanes;
  std::size_t elements = 0;
  double max_error = -1;
  std::size_t max_block = 0;
};

// False, and nothing added, when a pair of the block is to be left out or a square overflows.
template <class Real>
bool one_block(const Unaligned<Real>* x, const Unaligned<Real>* y, std::size_t at,
               double* channel_error2, Progress& progress, PairSums& s) {
  const Lanes block = real_sums(x, y);
  if (!all_plain(block)) return false;
  Lanes& lanes = progress.lanes;
  if (progress.elements == 0 || any_larger(block, lanes)) {
    const double largest = largest_of(block);
    if (largest > progress.max_error) {
      progress.max_error = largest;
      progress.max_block = at;
    }
  }
  for (std::size_t r = 0; r < kRegisters; ++r) {
    lanes.error2[r] += block.error2[r];
    lanes.reference2[r] += block.reference2[r];
    lanes.candidate2[r] += block.candidate2[r];
    lanes.product[r] += block.product[r];
    lanes.max_error[r] = larger(block.max_error[r], lanes.max_error[r]);
  }
  add_steps(x, y, lanes);
  if constexpr (sizeof(Real) == 8) {
    for (std::size_t i = 0; i < kBlock; ++i) s.equal += Real{x[i]} == Real{y[i]};
  }
  add_channels(x, y, channel_error2);
  progress.elements += kBlock;
  return true;
}

template <class Real>
void sums_of(const Unaligned<Real>* x, const Unaligned<Real>* y, std::size_t n, std::size_t first,
             double* channel_error2, PairSums& total) {
  PairSums s;
  Progress blocks;
  std::size_t i = 0;
  while (i < n) {
    if (i + kBlock <= n && one_block(x + i, y + i, i, channel_error2 + i, blocks, s)) {
      i += kBlock;
      continue;
    }
    const std::size_t end = std::min(n, i + kBlock);
    for (; i < end; ++i) one_pair(Real{x[i]}, Real{y[i]}, first + i, channel_error2[i], s);
  }
  if (blocks.elements > 0) {
    const Lanes& lanes = blocks.lanes;
    s.error2 += tree<double>(lanes.error2);
    s.reference2 += tree<double>(lanes.reference2);
    s.candidate2 += tree<double>(lanes.candidate2);
    s.product += tree<double>(lanes.product);
    s.ulp_sum += tree<std::uint64_t>(lanes.steps);
    s.compared += static_cast<std::int64_t>(blocks.elements);
    if constexpr (sizeof(Real) == 4) {
      s.equal += static_cast<std::int64_t>(blocks.elements) + tree<std::int64_t>(lanes.unequal);
    }
    for (std::size_t l = 0; l < kLanes; ++l) {
      const std::int32_t steps = lanes.max_steps[l / (2 * kWidth)][l % (2 * kWidth)];
      s.ulp_max = std::max(s.ulp_max, static_cast<std::uint32_t>(steps));
    }
    const std::size_t at = blocks.max_block;
    const std::size_t index = first + at + index_of(blocks.max_error, x + at, y + at);
    if (blocks.max_error > s.max_error ||
        (blocks.max_error == s.max_error && index < s.max_index)) {
      s.max_error = blocks.max_error;
      s.max_index = index;
    }
  }
  total.add(s);
}

}  // namespace
}  // namespace assay
