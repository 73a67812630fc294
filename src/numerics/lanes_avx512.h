// Sixteen lanes in AVX-512 registers: one of sixteen floats, or two of eight doubles.
#pragma once

#include <immintrin.h>
#include <sleef.h>

#include <cstddef>
#include <cstring>

#include "numerics/numerics.h"

namespace assay {
namespace {

ASSAY_INLINE __m512 round_to_bf16(__m512 x) {
  const __m512i bits = _mm512_castps_si512(x);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i top = _mm512_set1_epi32(static_cast<int>(0xFFFF0000u));
  const __m512i rounded = _mm512_and_si512(
      _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7FFF)), odd), top);
  const __m512i quiet = _mm512_and_si512(_mm512_or_si512(bits, _mm512_set1_epi32(0x00400000)), top);
  const __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
  return _mm512_castsi512_ps(_mm512_mask_blend_epi32(nan, rounded, quiet));
}

ASSAY_INLINE __m256i load_32_bytes(const std::byte* w) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
}

struct FloatPart {
  struct Operand {
    __m512 v;
    ASSAY_INLINE static Operand load(const float* x) { return {_mm512_loadu_ps(x)}; }
    ASSAY_INLINE void store(float* out) const { _mm512_storeu_ps(out, v); }
    // Keeps the value in a register: gcc would load it again for each use, and loads are as scarce
    // as multiply-adds.
    ASSAY_INLINE void keep() { asm("" : "+v"(v)); }
  };
  __m512 v;

  ASSAY_INLINE static FloatPart zero() { return {_mm512_setzero_ps()}; }
  ASSAY_INLINE void store(float* out) const { _mm512_storeu_ps(out, v); }
  ASSAY_INLINE void fma(Operand a, Operand b) { v = _mm512_fmadd_ps(a.v, b.v, v); }
};

// Even and odd elements in separate registers.
struct FloatPairs {
  using Stored = float;
  using Operand = FloatPart::Operand;
  static constexpr std::size_t kStoredPerPair = 2;
  static constexpr std::size_t kSteps = 2;

  __m512 even, odd;

  ASSAY_INLINE static FloatPairs zero() { return {_mm512_setzero_ps(), _mm512_setzero_ps()}; }
  ASSAY_INLINE static FloatPairs load(const float* x) {
    return apart(_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16));
  }
  ASSAY_INLINE static FloatPairs load_bf16(const std::byte* w) {
    const __m512i words = _mm512_loadu_si512(w);
    const __m512i top = _mm512_set1_epi32(static_cast<int>(0xFFFF0000u));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(words, 16)),
            _mm512_castsi512_ps(_mm512_and_si512(words, top))};
  }
  ASSAY_INLINE static FloatPairs load_f16(const std::byte* w) {
    return apart(_mm512_cvtph_ps(load_32_bytes(w)), _mm512_cvtph_ps(load_32_bytes(w + 32)));
  }
  ASSAY_INLINE static FloatPairs load_f32(const std::byte* w) {
    return apart(_mm512_loadu_ps(w), _mm512_loadu_ps(w + 64));
  }
  ASSAY_INLINE static FloatPairs rounded_to_bf16(FloatPairs x) {
    return {round_to_bf16(x.even), round_to_bf16(x.odd)};
  }
  // The same pair in every lane.
  ASSAY_INLINE static FloatPairs broadcast(const float* pair) {
    return {_mm512_set1_ps(pair[0]), _mm512_set1_ps(pair[1])};
  }
  ASSAY_INLINE FloatPairs masked(bool keeps_even, bool keeps_odd) const {
    return {_mm512_maskz_mov_ps(keeps_even ? 0xFFFF : 0, even),
            _mm512_maskz_mov_ps(keeps_odd ? 0xFFFF : 0, odd)};
  }
  ASSAY_INLINE static void flatten(const float* x, float* to) { std::memcpy(to, x, 128); }
  ASSAY_INLINE Operand operand(std::size_t step, std::size_t) const {
    return {step == 0 ? odd : even};
  }
  ASSAY_INLINE void keep() { asm("" : "+v"(even), "+v"(odd)); }

 private:
  ASSAY_INLINE static FloatPairs apart(__m512 low, __m512 high) {
    const __m512i evens =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odds = _mm512_add_epi32(evens, _mm512_set1_epi32(1));
    return {_mm512_permutex2var_ps(low, evens, high), _mm512_permutex2var_ps(low, odds, high)};
  }
};

struct FloatLanes {
  using Pairs = FloatPairs;
  using Part = FloatPart;
  static constexpr int kRowTile = 2;
  static constexpr int kTokenTile = 6;
  static constexpr int kPartRows = 4;
  static constexpr int kPartTokens = 6;
  static constexpr int kScoreLanes = 4;
  static constexpr int kScoreQueries = 6;
  static constexpr int kSumGroups = 2;
  static constexpr int kSumQueries = 6;
  static constexpr std::size_t kMathWidth = 16;

  __m512 v;

  ASSAY_INLINE static FloatLanes zero() { return {_mm512_setzero_ps()}; }
  ASSAY_INLINE static FloatLanes broadcast(float x) { return {_mm512_set1_ps(x)}; }
  ASSAY_INLINE static FloatLanes load(const float* x) { return {_mm512_loadu_ps(x)}; }
  ASSAY_INLINE void store(float* out) const { _mm512_storeu_ps(out, v); }

  ASSAY_INLINE void dot(const FloatPairs& a, const FloatPairs& b) {
    v = _mm512_fmadd_ps(a.odd, b.odd, v);
    v = _mm512_fmadd_ps(a.even, b.even, v);
  }
  ASSAY_INLINE void dot_add(const FloatLanes& a) { add(a); }
  ASSAY_INLINE static float dot_add(float a, float b) { return a + b; }
  ASSAY_INLINE static float dot_tree(const float* lanes) { return tree(lanes); }

  ASSAY_INLINE void fma(const FloatLanes& a, const FloatLanes& b) {
    v = _mm512_fmadd_ps(a.v, b.v, v);
  }
  ASSAY_INLINE void add(const FloatLanes& a) { v = _mm512_add_ps(v, a.v); }
  ASSAY_INLINE void max(const FloatLanes& a) { v = _mm512_max_ps(a.v, v); }

  ASSAY_INLINE static float tree(const float* lanes) {
    const __m256 b = _mm256_add_ps(_mm256_loadu_ps(lanes), _mm256_loadu_ps(lanes + 8));   // + 8
    const __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));  // + 4
    const __m128 d = _mm_add_ps(c, _mm_movehl_ps(c, c));                                  // + 2
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));                              // + 1
  }

  // The first two steps of four dots' trees at once: four lanes of each.
  ASSAY_INLINE static __m512 quarter(__m512 a, __m512 b, __m512 c, __m512 d) {
    const __m512 ab = halve8(a, b);
    const __m512 cd = halve8(c, d);
    return _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD));
  }
  // The rest of sixteen: lane 4 * i + m of the result is dot i of quarter m.
  ASSAY_INLINE static __m512 join(__m512 q0, __m512 q1, __m512 q2, __m512 q3) {
    const __m512 a = halve2(q0, q1);
    const __m512 b = halve2(q2, q3);
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xDD));  // + 1
  }
  // Sixteen dots in order, quarter m being dots 4 * m to 4 * m + 3.
  ASSAY_INLINE static FloatLanes trees_of_quarters(const float* quarters) {
    const __m512i in_order =
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return {_mm512_permutexvar_ps(
        in_order, join(_mm512_loadu_ps(quarters), _mm512_loadu_ps(quarters + 16),
                       _mm512_loadu_ps(quarters + 32), _mm512_loadu_ps(quarters + 48)))};
  }
  // out[i] = dot_tree(lanes + 16 * i) for sixteen at once.
  ASSAY_INLINE static void dot_trees(const float* lanes, float* out) {
    __m512 q[4];
    ASSAY_UNROLL
    for (int m = 0; m < 4; ++m) {
      const float* at = lanes + 16 * m;
      q[m] = quarter(_mm512_loadu_ps(at), _mm512_loadu_ps(at + 64), _mm512_loadu_ps(at + 128),
                     _mm512_loadu_ps(at + 192));
    }
    _mm512_storeu_ps(out, join(q[0], q[1], q[2], q[3]));
  }

  ASSAY_INLINE static void exp(const float* x, float* out) {
    _mm512_storeu_ps(out, Sleef_finz_expf16_u10avx512f(_mm512_loadu_ps(x)));
  }
  ASSAY_INLINE static void tanh(const float* x, float* out) {
    _mm512_storeu_ps(out, Sleef_finz_tanhf16_u10avx512f(_mm512_loadu_ps(x)));
  }

 private:
  // Lane l + lane l + 8 of a, then of b.
  ASSAY_INLINE static __m512 halve8(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
  }
  ASSAY_INLINE static __m512 halve2(__m512 a, __m512 b) {
    const __m512d x = _mm512_castps_pd(a);
    const __m512d y = _mm512_castps_pd(b);
    return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                         _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
  }
};

struct DoublePart {
  struct Operand {
    __m512d v;
    ASSAY_INLINE static Operand load(const double* x) { return {_mm512_loadu_pd(x)}; }
    ASSAY_INLINE void store(double* out) const { _mm512_storeu_pd(out, v); }
    ASSAY_INLINE void keep() { asm("" : "+v"(v)); }
  };
  __m512d v;

  ASSAY_INLINE static DoublePart zero() { return {_mm512_setzero_pd()}; }
  ASSAY_INLINE void store(double* out) const { _mm512_storeu_pd(out, v); }
  ASSAY_INLINE void fma(Operand a, Operand b) { v = _mm512_fmadd_pd(a.v, b.v, v); }
};

struct DoublePairs {
  using Stored = double;
  using Operand = DoublePart::Operand;
  static constexpr std::size_t kStoredPerPair = 2;
  static constexpr std::size_t kSteps = 2;

  __m512d even[2], odd[2];

  ASSAY_INLINE static DoublePairs zero() {
    const __m512d z = _mm512_setzero_pd();
    return {{z, z}, {z, z}};
  }
  ASSAY_INLINE static DoublePairs load(const double* x) {
    const __m512i evens = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
    const __m512i odds = _mm512_add_epi64(evens, _mm512_set1_epi64(1));
    DoublePairs pairs;
    ASSAY_UNROLL
    for (int i = 0; i < 2; ++i) {
      const __m512d low = _mm512_loadu_pd(x + 16 * i);
      const __m512d high = _mm512_loadu_pd(x + 16 * i + 8);
      pairs.even[i] = _mm512_permutex2var_pd(low, evens, high);
      pairs.odd[i] = _mm512_permutex2var_pd(low, odds, high);
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
    const __m512d e = _mm512_set1_pd(pair[0]);
    const __m512d o = _mm512_set1_pd(pair[1]);
    return {{e, e}, {o, o}};
  }
  ASSAY_INLINE DoublePairs masked(bool keeps_even, bool keeps_odd) const {
    DoublePairs pairs;
    ASSAY_UNROLL
    for (int i = 0; i < 2; ++i) {
      pairs.even[i] = _mm512_maskz_mov_pd(keeps_even ? 0xFF : 0, even[i]);
      pairs.odd[i] = _mm512_maskz_mov_pd(keeps_odd ? 0xFF : 0, odd[i]);
    }
    return pairs;
  }
  ASSAY_INLINE static void flatten(const double* x, double* to) { std::memcpy(to, x, 256); }
  ASSAY_INLINE Operand operand(std::size_t step, std::size_t p) const {
    return {step == 0 ? odd[p] : even[p]};
  }

 private:
  ASSAY_INLINE static DoublePairs widened(const FloatPairs& x) {
    return {{_mm512_cvtps_pd(_mm512_castps512_ps256(x.even)),
             _mm512_cvtps_pd(_mm512_extractf32x8_ps(x.even, 1))},
            {_mm512_cvtps_pd(_mm512_castps512_ps256(x.odd)),
             _mm512_cvtps_pd(_mm512_extractf32x8_ps(x.odd, 1))}};
  }
};

struct DoubleLanes {
  using Pairs = DoublePairs;
  using Part = DoublePart;
  static constexpr int kRowTile = 1;
  static constexpr int kTokenTile = 6;
  static constexpr int kPartRows = 4;
  static constexpr int kPartTokens = 6;
  static constexpr int kScoreLanes = 4;
  static constexpr int kScoreQueries = 2;
  static constexpr int kSumGroups = 1;
  static constexpr int kSumQueries = 6;
  static constexpr std::size_t kMathWidth = 8;

  __m512d v[2];

  ASSAY_INLINE static DoubleLanes zero() { return broadcast(0.0); }
  ASSAY_INLINE static DoubleLanes broadcast(double x) {
    const __m512d b = _mm512_set1_pd(x);
    return {{b, b}};
  }
  ASSAY_INLINE static DoubleLanes load(const double* x) {
    return {{_mm512_loadu_pd(x), _mm512_loadu_pd(x + 8)}};
  }
  ASSAY_INLINE void store(double* out) const {
    _mm512_storeu_pd(out, v[0]);
    _mm512_storeu_pd(out + 8, v[1]);
  }

  ASSAY_INLINE void dot(const DoublePairs& a, const DoublePairs& b) {
    ASSAY_UNROLL
    for (int i = 0; i < 2; ++i) v[i] = _mm512_fmadd_pd(a.odd[i], b.odd[i], v[i]);
    ASSAY_UNROLL
    for (int i = 0; i < 2; ++i) v[i] = _mm512_fmadd_pd(a.even[i], b.even[i], v[i]);
  }
  ASSAY_INLINE void dot_add(const DoubleLanes& a) { add(a); }
  ASSAY_INLINE static double dot_add(double a, double b) { return a + b; }
  ASSAY_INLINE static double dot_tree(const double* lanes) { return tree(lanes); }

  ASSAY_INLINE void fma(const DoubleLanes& a, const DoubleLanes& b) {
    ASSAY_UNROLL
    for (int i = 0; i < 2; ++i) v[i] = _mm512_fmadd_pd(a.v[i], b.v[i], v[i]);
  }
  ASSAY_INLINE void add(const DoubleLanes& a) {
    ASSAY_UNROLL
    for (int i = 0; i < 2; ++i) v[i] = _mm512_add_pd(v[i], a.v[i]);
  }
  ASSAY_INLINE void max(const DoubleLanes& a) {
    ASSAY_UNROLL
    for (int i = 0; i < 2; ++i) v[i] = _mm512_max_pd(a.v[i], v[i]);
  }

  ASSAY_INLINE static double tree(const double* lanes) {
    const __m512d c = _mm512_add_pd(_mm512_loadu_pd(lanes), _mm512_loadu_pd(lanes + 8));  // + 8
    const __m256d d =
        _mm256_add_pd(_mm512_castpd512_pd256(c), _mm512_extractf64x4_pd(c, 1));            // + 4
    const __m128d e = _mm_add_pd(_mm256_castpd256_pd128(d), _mm256_extractf128_pd(d, 1));  // + 2
    return _mm_cvtsd_f64(_mm_add_sd(e, _mm_unpackhi_pd(e, e)));                            // + 1
  }

  ASSAY_INLINE static void exp(const double* x, double* out) {
    _mm512_storeu_pd(out, Sleef_finz_expd8_u10avx512f(_mm512_loadu_pd(x)));
  }
  ASSAY_INLINE static void tanh(const double* x, double* out) {
    _mm512_storeu_pd(out, Sleef_finz_tanhd8_u10avx512f(_mm512_loadu_pd(x)));
  }
};

}  // namespace
}  // namespace assay
