// Registers for the sums over pairs, in the compiler's vector types: every operation is per lane,
// as IEEE says, whatever instructions it becomes. ASSAY_VECTOR_BYTES is the register's size.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "metrics/pair_sums.h"

namespace assay {
namespace {

constexpr std::size_t kLanes = 16;
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
// Operations for which the compiler emits several instructions are written with intrinsics if one
// instruction is enough.
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

// Operations for which the vector types have no operator. a * b + c is rounded once.
#if ASSAY_VECTOR_BYTES == 64 && defined(__AVX512F__)
inline Doubles multiply_add(Doubles a, Doubles b, Doubles c) { return _mm512_fmadd_pd(a, b, c); }
inline Doubles larger(Doubles a, Doubles b) { return _mm512_max_pd(a, b); }
inline Doubles larger_magnitude(Doubles a, Doubles most) {
  constexpr int kLargestMagnitude = 0b1011;
  return _mm512_range_pd(a, most, kLargestMagnitude);
}
inline Ints larger(Ints a, Ints b) {
  return std::bit_cast<Ints>(
      _mm512_max_epi32(std::bit_cast<__m512i>(a), std::bit_cast<__m512i>(b)));
}
inline Ints magnitude(Ints a) {
  return std::bit_cast<Ints>(_mm512_abs_epi32(std::bit_cast<__m512i>(a)));
}
#elif ASSAY_VECTOR_BYTES == 32 && defined(__AVX2__)
inline Doubles multiply_add(Doubles a, Doubles b, Doubles c) { return _mm256_fmadd_pd(a, b, c); }
inline Doubles larger(Doubles a, Doubles b) { return _mm256_max_pd(a, b); }
inline Doubles larger_magnitude(Doubles a, Doubles most) { return larger(magnitude(a), most); }
inline Ints larger(Ints a, Ints b) {
  return std::bit_cast<Ints>(
      _mm256_max_epi32(std::bit_cast<__m256i>(a), std::bit_cast<__m256i>(b)));
}
inline Ints magnitude(Ints a) {
  return std::bit_cast<Ints>(_mm256_abs_epi32(std::bit_cast<__m256i>(a)));
}
#else
inline Doubles multiply_add(Doubles a, Doubles b, Doubles c) {
  Doubles result = {};
  for (std::size_t l = 0; l < kWidth; ++l) result[l] = std::fma(a[l], b[l], c[l]);
  return result;
}
inline Doubles larger(Doubles a, Doubles b) {
  const Longs mask = a > b;
  return std::bit_cast<Doubles>((mask & std::bit_cast<Longs>(a)) |
                                (~mask & std::bit_cast<Longs>(b)));
}
inline Doubles larger_magnitude(Doubles a, Doubles most) { return larger(magnitude(a), most); }
inline Ints larger(Ints a, Ints b) {
  const Ints mask = a > b;
  return (mask & a) | (~mask & b);
}
inline Ints magnitude(Ints a) { return (a ^ (a >> 31)) - (a >> 31); }
#endif

}  // namespace
}  // namespace assay
