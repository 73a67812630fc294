// The only source of the sums, compiled once per instruction set. ASSAY_VECTOR_BYTES is the size of
// its registers.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "base/half.h"
#include "metrics/pair_sums.h"
#include "metrics/pair_sums_vectors.h"

namespace assay {
namespace {

constexpr std::size_t kBlock = 256;
constexpr std::size_t kAhead = 1024;  // bytes

// BF16 values in order: neighbours differ by 1, and -0 is +0.
inline std::int32_t bf16_rank(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto magnitude =
      static_cast<std::int32_t>(((bits & 0x7FFFFFFFu) + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
  return bits >> 31 != 0 ? -magnitude : magnitude;
}

inline void one_pair(double x, double y, std::size_t index, double& channel_error2, PairSums& s) {
  if (x < PairSums::kHidden && !std::isinf(x)) {
    // NaN does not count as hidden.
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
  s.error2 = std::fma(error, error, s.error2);
  s.reference2 = std::fma(x, x, s.reference2);
  s.candidate2 = std::fma(y, y, s.candidate2);
  s.product = std::fma(x, y, s.product);
  channel_error2 = std::fma(error, error, channel_error2);
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

inline std::int64_t any(Longs mask) {
  std::int64_t found = 0;
  for (std::size_t l = 0; l < kWidth; ++l) found |= mask[l];
  return found;
}

// The kinds of values in a block. Denormals are treated like others, except in bf16_steps.
enum class Block { kPlain, kDenormal, kLeavesOut };

// Prefetches both streams, because the CPU alone does not prefetch far enough.
inline void prefetch(const void* x, const void* y) {
  __builtin_prefetch(static_cast<const char*>(x) + kAhead);
  __builtin_prefetch(static_cast<const char*>(y) + kAhead);
}

#if ASSAY_VECTOR_BYTES == 64 && defined(__AVX512F__)
constexpr int kNanOrInfinity = 0x99;
constexpr int kIsDenormal = 0x20;

// True when an element is of those classes, or hidden.
template <int kClasses>
bool any_of_class(const Unaligned<float>* x, const Unaligned<float>* y) {
  const __m512 lowest = _mm512_set1_ps(static_cast<float>(PairSums::kHidden));
  __mmask16 found = 0;
#pragma GCC unroll 4
  for (std::size_t i = 0; i < kBlock; i += kLanes) {
    prefetch(x + i, y + i);
    const __m512 a = load_floats(x + i);
    found |= _mm512_fpclass_ps_mask(a, kClasses);
    found |= _mm512_fpclass_ps_mask(load_floats(y + i), kClasses);
    found |= _mm512_cmp_ps_mask(a, lowest, _CMP_LT_OQ);
  }
  return found != 0;
}

inline Block block_of(const Unaligned<float>* x, const Unaligned<float>* y) {
  if (!any_of_class<kNanOrInfinity | kIsDenormal>(x, y)) return Block::kPlain;
  return any_of_class<kNanOrInfinity>(x, y) ? Block::kLeavesOut : Block::kDenormal;
}
#else
inline Block block_of(const Unaligned<float>* x, const Unaligned<float>* y) {
  constexpr std::int32_t kInfinity = 0x7F800000;
  constexpr auto kLowest = static_cast<float>(PairSums::kHidden);
  Ints most = {};
  Ints hidden = {};
  for (std::size_t i = 0; i < kBlock; i += 2 * kWidth) {
    prefetch(x + i, y + i);
    const Floats a = load_floats(x + i);
    most = larger(most, std::bit_cast<Ints>(a) & 0x7FFFFFFF);
    most = larger(most, std::bit_cast<Ints>(load_floats(y + i)) & 0x7FFFFFFF);
    hidden |= a < kLowest;
  }
  const bool leaves_out = any(std::bit_cast<Longs>((most >= kInfinity) | hidden)) != 0;
  return leaves_out ? Block::kLeavesOut : Block::kPlain;
}
#endif

inline Block block_of(const Unaligned<double>* x, const Unaligned<double>* y) {
  constexpr double kLargest = std::numeric_limits<double>::max();
  Longs other = {};
  for (std::size_t i = 0; i < kBlock; i += kWidth) {
    const Doubles a = load_doubles(x + i);
    other |= ~((a >= PairSums::kHidden) & (a <= kLargest) &
               (magnitude(load_doubles(y + i)) <= kLargest));
  }
  return any(other) == 0 ? Block::kPlain : Block::kLeavesOut;
}

template <class Real>
void add_values(const Unaligned<Real>* x, const Unaligned<Real>* y, double* channel_error2,
                Lanes& sums) {
  for (std::size_t i = 0; i < kBlock; i += kLanes) {
#pragma GCC unroll 8
    for (std::size_t r = 0; r < kRegisters; ++r) {
      const std::size_t k = i + r * kWidth;
      const Doubles a = load_doubles(x + k);
      const Doubles b = load_doubles(y + k);
      const Doubles error = a - b;
      sums.error2[r] = multiply_add(error, error, sums.error2[r]);
      sums.reference2[r] = multiply_add(a, a, sums.reference2[r]);
      sums.candidate2[r] = multiply_add(b, b, sums.candidate2[r]);
      sums.product[r] = multiply_add(a, b, sums.product[r]);
      sums.max_error[r] = larger_magnitude(error, sums.max_error[r]);
      const Doubles channel = multiply_add(error, error, load<Doubles>(channel_error2 + k));
      std::memcpy(channel_error2 + k, &channel, sizeof channel);
    }
  }
}

// BF16 steps, and which pairs differ.
template <class Real>
void add_steps(const Unaligned<Real>* x, const Unaligned<Real>* y, Lanes& sums) {
  for (std::size_t i = 0; i < kBlock; i += kLanes) {
#pragma GCC unroll 4
    for (std::size_t r = 0; r < kFloatRegisters; ++r) {
      const std::size_t k = i + r * 2 * kWidth;
      const Floats a = load_floats(x + k);
      const Floats b = load_floats(y + k);
      const Ints steps = magnitude(bf16_ranks(a) - bf16_ranks(b));
      sums.steps[r] += steps;
      sums.max_steps[r] = larger(steps, sums.max_steps[r]);
      if constexpr (sizeof(Real) == 4) sums.unequal[r] += a != b;
    }
  }
}

#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
// bf16_ranks of 32 values, in 16 bits each. The instruction treats denormals as 0.
inline __m512i bf16_ranks(__m512 low, __m512 high) {
  const auto bits = std::bit_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
  const __m512i sign = _mm512_srai_epi16(bits, 15);
  constexpr int kAndThenXor = 0x6A;
  return _mm512_sub_epi16(
      _mm512_ternarylogic_epi32(bits, _mm512_set1_epi16(0x7FFF), sign, kAndThenXor), sign);
}

// add_steps for a block without denormals, of all lanes together.
inline void add_steps_bf16(const Unaligned<float>* x, const Unaligned<float>* y, Lanes& sums) {
  constexpr std::size_t kAtOnce = 2 * kLanes;
  const __m512i middle = _mm512_set1_epi16(-0x8000);
  __m512i steps = _mm512_setzero_si512();  // of two pairs each, less twice the middle
  __m512i most = _mm512_setzero_si512();
  __m512i unequal = _mm512_setzero_si512();
  for (std::size_t i = 0; i < kBlock; i += kAtOnce) {
    const __m512 a0 = load_floats(x + i);
    const __m512 a1 = load_floats(x + i + kLanes);
    const __m512 b0 = load_floats(y + i);
    const __m512 b1 = load_floats(y + i + kLanes);
    const __m512i a = bf16_ranks(a0, a1);
    const __m512i b = bf16_ranks(b0, b1);
    // Up to 65280: without a sign, or moved down by the middle.
    const __m512i distance = _mm512_sub_epi16(_mm512_max_epi16(a, b), _mm512_min_epi16(a, b));
    most = _mm512_max_epu16(most, distance);
    steps = _mm512_dpwssd_epi32(steps, _mm512_xor_si512(distance, middle), _mm512_set1_epi16(1));
    const __m512i one = _mm512_set1_epi32(-1);
    unequal = _mm512_mask_add_epi32(unequal, _mm512_cmp_ps_mask(a0, b0, _CMP_NEQ_UQ), unequal, one);
    unequal = _mm512_mask_add_epi32(unequal, _mm512_cmp_ps_mask(a1, b1, _CMP_NEQ_UQ), unequal, one);
  }
  constexpr int kMiddles = kBlock / kLanes * 0x8000;
  sums.steps[0] = std::bit_cast<Ints>(_mm512_add_epi32(steps, _mm512_set1_epi32(kMiddles)));
  sums.unequal[0] = std::bit_cast<Ints>(unequal);
  sums.max_steps[0] = std::bit_cast<Ints>(
      _mm512_max_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(most)),
                       _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(most, 1))));
}
#endif

template <class Real>
Lanes block_sums(const Unaligned<Real>* x, const Unaligned<Real>* y, Block block,
                 double* channel_error2) {
  Lanes sums;
  add_values(x, y, channel_error2, sums);
#if defined(__AVX512BF16__) && defined(__AVX512VNNI__)
  if constexpr (sizeof(Real) == 4) {
    if (block == Block::kPlain) {
      add_steps_bf16(x, y, sums);
      return sums;
    }
  }
#endif
  static_cast<void>(block);
  add_steps(x, y, sums);
  return sums;
}

// The index of the first pair of the block whose difference is `error`.
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
  return any(found) != 0;
}

// The state of sums_of while it processes the blocks of a call.
struct Progress {
  Lanes lanes;
  std::size_t elements = 0;
  double max_error =
      -1;  // of this call if it exceeds the earlier maximum, otherwise the earlier maximum
  std::size_t max_block = 0;
};

template <class Real>
void one_block(const Unaligned<Real>* x, const Unaligned<Real>* y, Block kind, std::size_t at,
               double* channel_error2, Progress& progress, PairSums& s) {
  const Lanes block = block_sums(x, y, kind, channel_error2);
  Lanes& lanes = progress.lanes;
  if (any_larger(block, lanes)) {
    progress.max_error = largest_of(block);
    progress.max_block = at;
    for (Doubles& most : lanes.max_error) most = Doubles{} + progress.max_error;
  }
  for (std::size_t r = 0; r < kRegisters; ++r) {
    lanes.error2[r] += block.error2[r];
    lanes.reference2[r] += block.reference2[r];
    lanes.candidate2[r] += block.candidate2[r];
    lanes.product[r] += block.product[r];
  }
  for (std::size_t r = 0; r < kFloatRegisters; ++r) {
    lanes.steps[r] += block.steps[r];
    lanes.max_steps[r] = larger(block.max_steps[r], lanes.max_steps[r]);
    lanes.unequal[r] += block.unequal[r];
  }
  if constexpr (sizeof(Real) == 8) {
    for (std::size_t i = 0; i < kBlock; ++i) s.equal += Real{x[i]} == Real{y[i]};
  }
  progress.elements += kBlock;
}

template <class Real>
void sums_of(const Unaligned<Real>* x, const Unaligned<Real>* y, std::size_t n, std::size_t first,
             double* channel_error2, PairSums& total) {
  PairSums s;
  // An index is looked for only where the error is larger than all before.
  s.max_error = total.max_error;
  Progress blocks;
  blocks.max_error = total.max_error;
  for (Doubles& most : blocks.lanes.max_error) most = Doubles{} + total.max_error;
  std::size_t i = 0;
  while (i < n) {
    const Block block = i + kBlock <= n ? block_of(x + i, y + i) : Block::kLeavesOut;
    if (block != Block::kLeavesOut) {
      one_block(x + i, y + i, block, i, channel_error2 + i, blocks, s);
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
    if (blocks.max_error > total.max_error && blocks.max_error >= s.max_error) {
      const std::size_t at = blocks.max_block;
      const std::size_t index = first + at + index_of(blocks.max_error, x + at, y + at);
      if (blocks.max_error > s.max_error || index < s.max_index) s.max_index = index;
      s.max_error = blocks.max_error;
    }
  }
  total.add(s);
}

}  // namespace
}  // namespace assay
