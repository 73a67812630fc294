// Sixteen lanes in AVX2 registers: two of eight floats, or four of four doubles.
#pragma once

#include <immintrin.h>
#include <sleef.h>

#include <cstddef>
#include <cstring>

#include "numerics/numerics.h"

namespace assay {
namespace {

ASSAY_INLINE __m256 round_to_bf16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i top = _mm256_set1_epi32(static_cast<int>(0xFFFF0000u));
  const __m256i rounded = _mm256_and_si256(
      _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7FFF)), odd), top);
  const __m256i quiet = _mm256_and_si256(_mm256_or_si256(bits, _mm256_set1_epi32(0x00400000)), top);
  const __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
  return _mm256_blendv_ps(_mm256_castsi256_ps(rounded), _mm256_castsi256_ps(quiet), nan);
}

ASSAY_INLINE __m128i load_16_bytes(const std::byte* w) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(w));
}

ASSAY_INLINE __m256 all_or_nothing(bool all) {
  return _mm256_castsi256_ps(_mm256_set1_epi32(all ? -1 : 0));
}

struct FloatPart {
  struct Operand {
    __m256 v;
    ASSAY_INLINE static Operand load(const float* x) { return {_mm256_loadu_ps(x)}; }
    ASSAY_INLINE void store(float* out) const { _mm256_storeu_ps(out, v); }
  };
  __m256 v;

  ASSAY_INLINE static FloatPart zero() { return {_mm256_setzero_ps()}; }
  ASSAY_INLINE void store(float* out) const { _mm256_storeu_ps(out, v); }
  ASSAY_INLINE void fma(Operand a, Operand b) { v = _mm256_fmadd_ps(a.v, b.v, v); }
};

struct FloatPairs {
  using Stored = float;
  using Operand = FloatPart::Operand;
  static constexpr std::size_t kStoredPerPair = 2;
  static constexpr std::size_t kSteps = 2;

  __m256 even[2], odd[2];

  ASSAY_INLINE static FloatPairs zero() {
    const __m256 z = _mm256_setzero_ps();
    return {{z, z}, {z, z}};
  }
  ASSAY_INLINE static FloatPairs load(const float* x) {
    FloatPairs pairs;
    ASSAY_UNROLL
    for (int i = 0; i < 2; ++i) {
      pairs.apart(i, _mm256_loadu_ps(x + 16 * i), _mm256_loadu_ps(x + 16 * i + 8));
    }
    return pairs;
  }
  ASSAY_INLINE static FloatPairs load_bf16(const std::byte* w) {
    FloatPairs pairs;
    const __m256i top = _mm256_set1_epi32(static_cast<int>(0xFFFF0000u));
    ASSAY_UNROLL
    for (int i = 0; i < 2; ++i) {
      const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w + 32 * i));
      pairs.even[i] = _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
      pairs.odd[i] = _mm256_castsi256_ps(_mm256_and_si256(words, top));
    }
    return pairs;
  }
  ASSAY_INLINE static FloatPairs load_f16(const std::byte* w) {
    FloatPairs pairs;
    ASSAY_UNROLL
    for (int i = 0; i < 2; ++i) {
      pairs.apart(i, _mm256_cvtph_ps(load_16_bytes(w + 32 * i)),
                  _mm256_cvtph_ps(load_16_bytes(w + 32 * i + 16)));
    }
    return pairs;
  }
  ASSAY_INLINE static FloatPairs load_f32(const std::byte* w) {
    return load(reinterpret_cast<const float*>(w));
  }
  ASSAY_INLINE static FloatPairs rounded_to_bf16(FloatPairs x) {
    for (__m256& part : x.even) part = round_to_bf16(part);
    for (__m256& part : x.odd) part = round_to_bf16(part);
    return x;
  }
  // The same pair in every lane.
  ASSAY_INLINE static FloatPairs broadcast(const float* pair) {
    const __m256 e = _mm256_broadcast_ss(pair);
    const __m256 o = _mm256_broadcast_ss(pair + 1);
    return {{e, e}, {o, o}};
  }
  ASSAY_INLINE FloatPairs masked(bool keeps_even, bool keeps_odd) const {
    const __m256 e = all_or_nothing(keeps_even);
    const __m256 o = all_or_nothing(keeps_odd);
    return {{_mm256_and_ps(even[0], e), _mm256_and_ps(even[1], e)},
            {_mm256_and_ps(odd[0], o), _mm256_and_ps(odd[1], o)}};
  }
  ASSAY_INLINE static void flatten(const float* x, float* to) { std::memcpy(to, x, 128); }
  ASSAY_INLINE Operand operand(std::size_t step, std::size_t p) const {
    return {step == 0 ? odd[p] : even[p]};
  }

 private:
  ASSAY_INLINE void apart(int i, __m256 low, __m256 high) {
    even[i] = in_order(_mm256_shuffle_ps(low, high, 0x88));
    odd[i] = in_order(_mm256_shuffle_ps(low, high, 0xDD));
  }
  ASSAY_INLINE static __m256 in_order(__m256 x) {
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(x), 0xD8));
  }
};

struct FloatLanes {
  using Pairs = FloatPairs;
  using Part = FloatPart;
  static constexpr int kRowTile = 2;
  static constexpr int kTokenTile = 2;
  // Twelve sums, three tokens and a row take the sixteen registers.
  static constexpr int kPartRows = 4;
  static constexpr int kPartTokens = 3;
  static constexpr int kScoreLanes = 2;
  static constexpr int kScoreQueries = 2;
  static constexpr int kSumGroups = 2;
  static constexpr int kSumQueries = 2;
  static constexpr std::size_t kMathWidth = 8;

  __m256 v[2];

  ASSAY_INLINE static FloatLanes zero() { return broadcast(0.0F); }
  ASSAY_INLINE static FloatLanes broadcast(float x) {
    const __m256 b = _mm256_set1_ps(x);
    return {{b, b}};
  }
  ASSAY_INLINE static FloatLanes load(const float* x) {
    return {{_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8)}};
  }
  ASSAY_INLINE void store(float* out) const {
    _mm256_storeu_ps(out, v[0]);
    _mm256_storeu_ps(out + 8, v[1]);
  }

  ASSAY_INLINE void dot(const FloatPairs& a, const FloatPairs& b) {
    ASSAY_UNROLL
    for (int i = 0; i < 2; ++i) v[i] = _mm256_fmadd_ps(a.odd[i], b.odd[i], v[i]);
    ASSAY_UNROLL
    for (int i = 0; i < 2; ++i) v[i] = _mm256_fmadd_ps(a.even[i], b.even[i], v[i]);
  }
  ASSAY_INLINE void dot_add(const FloatLanes& a) { add(a); }
  ASSAY_INLINE static float dot_add(float a, float b) { return a + b; }
  ASSAY_INLINE static float dot_tree(const float* lanes) { return tree(lanes); }

  ASSAY_INLINE void fma(const FloatLanes& a, const FloatLanes& b) {
    ASSAY_UNROLL
    for (int i = 0; i < 2; ++i) v[i] = _mm256_fmadd_ps(a.v[i], b.v[i], v[i]);
  }
  ASSAY_INLINE void add(const FloatLanes& a) {
    ASSAY_UNROLL
    for (int i = 0; i < 2; ++i) v[i] = _mm256_add_ps(v[i], a.v[i]);
  }
  ASSAY_INLINE void max(const FloatLanes& a) {
    ASSAY_UNROLL
    for (int i = 0; i < 2; ++i) v[i] = _mm256_max_ps(a.v[i], v[i]);
  }

  ASSAY_INLINE static float tree(const float* lanes) {
    const __m256 c = _mm256_add_ps(_mm256_loadu_ps(lanes), _mm256_loadu_ps(lanes + 8));   // + 8
    const __m128 d = _mm_add_ps(_mm256_castps256_ps128(c), _mm256_extractf128_ps(c, 1));  // + 4
    const __m128 e = _mm_add_ps(d, _mm_movehl_ps(d, d));                                  // + 2
    return _mm_cvtss_f32(_mm_add_ss(e, _mm_movehdup_ps(e)));                              // + 1
  }

  ASSAY_INLINE static void exp(const float* x, float* out) {
    _mm256_storeu_ps(out, Sleef_finz_expf8_u10avx2(_mm256_loadu_ps(x)));
  }
  ASSAY_INLINE static void tanh(const float* x, float* out) {
    _mm256_storeu_ps(out, Sleef_finz_tanhf8_u10avx2(_mm256_loadu_ps(x)));
  }
};

struct DoublePart {
  struct Operand {
    __m256d v;
    ASSAY_INLINE static Operand load(const double* x) { return {_mm256_loadu_pd(x)}; }
    ASSAY_INLINE void store(double* out) const { _mm256_storeu_pd(out, v); }
  };
  __m256d v;

  ASSAY_INLINE static DoublePart zero() { return {_mm256_setzero_pd()}; }
  ASSAY_INLINE void store(double* out) const { _mm256_storeu_pd(out, v); }
  ASSAY_INLINE void fma(Operand a, Operand b) { v = _mm256_fmadd_pd(a.v, b.v, v); }
};

struct DoublePairs {
  using Stored = double;
  using Operand = DoublePart::Operand;
  static constexpr std::size_t kStoredPerPair = 2;
  static constexpr std::size_t kSteps = 2;

  __m256d even[4], odd[4];

  ASSAY_INLINE static DoublePairs zero() {
    const __m256d z = _mm256_setzero_pd();
    return {{z, z, z, z}, {z, z, z, z}};
  }
  ASSAY_INLINE static DoublePairs load(const double* x) {
    DoublePairs pairs;
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) {
      const __m256d low = _mm256_loadu_pd(x + 8 * i);
      const __m256d high = _mm256_loadu_pd(x + 8 * i + 4);
      pairs.even[i] = _mm256_permute4x64_pd(_mm256_unpacklo_pd(low, high), 0xD8);
      pairs.odd[i] = _mm256_permute4x64_pd(_mm256_unpackhi_pd(low, high), 0xD8);
    }
    return pairs;
  }
  ASSAY_INLINE static DoublePairs load_bf16(const std::byte* w) {
    return widened(FloatPairs::load_bf16(w));
  }
  ASSAY_INLINE static DoublePairs load_f16(const std::byte* w) {
    return widened(FloatPairs::load_f16(w));
  }
  ASSAY_INLINE static DoublePairs load_f32(const std::byte* w) {
    return widened(FloatPairs::load_f32(w));
  }
  ASSAY_INLINE static DoublePairs broadcast(const double* pair) {
    const __m256d e = _mm256_broadcast_sd(pair);
    const __m256d o = _mm256_broadcast_sd(pair + 1);
    return {{e, e, e, e}, {o, o, o, o}};
  }
  ASSAY_INLINE DoublePairs masked(bool keeps_even, bool keeps_odd) const {
    const __m256d e = _mm256_castps_pd(all_or_nothing(keeps_even));
    const __m256d o = _mm256_castps_pd(all_or_nothing(keeps_odd));
    DoublePairs pairs;
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) {
      pairs.even[i] = _mm256_and_pd(even[i], e);
      pairs.odd[i] = _mm256_and_pd(odd[i], o);
    }
    return pairs;
  }
  ASSAY_INLINE static void flatten(const double* x, double* to) { std::memcpy(to, x, 256); }
  ASSAY_INLINE Operand operand(std::size_t step, std::size_t p) const {
    return {step == 0 ? odd[p] : even[p]};
  }

 private:
  ASSAY_INLINE static DoublePairs widened(const FloatPairs& x) {
    DoublePairs pairs;
    ASSAY_UNROLL
    for (int i = 0; i < 2; ++i) {
      pairs.even[2 * i] = _mm256_cvtps_pd(_mm256_castps256_ps128(x.even[i]));
      pairs.even[2 * i + 1] = _mm256_cvtps_pd(_mm256_extractf128_ps(x.even[i], 1));
      pairs.odd[2 * i] = _mm256_cvtps_pd(_mm256_castps256_ps128(x.odd[i]));
      pairs.odd[2 * i + 1] = _mm256_cvtps_pd(_mm256_extractf128_ps(x.odd[i], 1));
    }
    return pairs;
  }
};

struct DoubleLanes {
  using Pairs = DoublePairs;
  using Part = DoublePart;
  static constexpr int kRowTile = 1;
  static constexpr int kTokenTile = 2;
  static constexpr int kPartRows = 4;
  static constexpr int kPartTokens = 3;
  static constexpr int kScoreLanes = 1;
  static constexpr int kScoreQueries = 1;
  static constexpr int kSumGroups = 1;
  static constexpr int kSumQueries = 1;
  static constexpr std::size_t kMathWidth = 4;

  __m256d v[4];

  ASSAY_INLINE static DoubleLanes zero() { return broadcast(0.0); }
  ASSAY_INLINE static DoubleLanes broadcast(double x) {
    const __m256d b = _mm256_set1_pd(x);
    return {{b, b, b, b}};
  }
  ASSAY_INLINE static DoubleLanes load(const double* x) {
    DoubleLanes lanes;
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) lanes.v[i] = _mm256_loadu_pd(x + 4 * i);
    return lanes;
  }
  ASSAY_INLINE void store(double* out) const {
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) _mm256_storeu_pd(out + 4 * i, v[i]);
  }

  ASSAY_INLINE void dot(const DoublePairs& a, const DoublePairs& b) {
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) v[i] = _mm256_fmadd_pd(a.odd[i], b.odd[i], v[i]);
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) v[i] = _mm256_fmadd_pd(a.even[i], b.even[i], v[i]);
  }
  ASSAY_INLINE void dot_add(const DoubleLanes& a) { add(a); }
  ASSAY_INLINE static double dot_add(double a, double b) { return a + b; }
  ASSAY_INLINE static double dot_tree(const double* lanes) { return tree(lanes); }

  ASSAY_INLINE void fma(const DoubleLanes& a, const DoubleLanes& b) {
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) v[i] = _mm256_fmadd_pd(a.v[i], b.v[i], v[i]);
  }
  ASSAY_INLINE void add(const DoubleLanes& a) {
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) v[i] = _mm256_add_pd(v[i], a.v[i]);
  }
  ASSAY_INLINE void max(const DoubleLanes& a) {
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) v[i] = _mm256_max_pd(a.v[i], v[i]);
  }

  ASSAY_INLINE static double tree(const double* lanes) {
    __m256d a[4];
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) a[i] = _mm256_loadu_pd(lanes + 4 * i);
    const __m256d b = _mm256_add_pd(a[0], a[2]);  // + 8
    const __m256d c = _mm256_add_pd(a[1], a[3]);
    const __m256d d = _mm256_add_pd(b, c);                                                 // + 4
    const __m128d e = _mm_add_pd(_mm256_castpd256_pd128(d), _mm256_extractf128_pd(d, 1));  // + 2
    return _mm_cvtsd_f64(_mm_add_sd(e, _mm_unpackhi_pd(e, e)));                            // + 1
  }

  ASSAY_INLINE static void exp(const double* x, double* out) {
    _mm256_storeu_pd(out, Sleef_finz_expd4_u10avx2(_mm256_loadu_pd(x)));
  }
  ASSAY_INLINE static void tanh(const double* x, double* out) {
    _mm256_storeu_pd(out, Sleef_finz_tanhd4_u10avx2(_mm256_loadu_pd(x)));
  }
};

}  // namespace
}  // namespace assay
