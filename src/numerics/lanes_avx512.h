// 32 lanes in AVX-512 registers: two of sixteen floats, or four of eight doubles.
#pragma once

#include <immintrin.h>
#include <sleef.h>

#include <cstddef>

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

ASSAY_INLINE __m512 widen_bf16(__m256i x) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
}

ASSAY_INLINE __m256i load_32_bytes(const std::byte* w) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
}

struct FloatPart {
  __m512 v;

  ASSAY_INLINE static FloatPart zero() { return {_mm512_setzero_ps()}; }
  ASSAY_INLINE static FloatPart load(const float* x) { return {_mm512_loadu_ps(x)}; }
  ASSAY_INLINE void store(float* out) const { _mm512_storeu_ps(out, v); }
  ASSAY_INLINE void fma(FloatPart a, FloatPart b) { v = _mm512_fmadd_ps(a.v, b.v, v); }
  ASSAY_INLINE void add(FloatPart a) { v = _mm512_add_ps(v, a.v); }
  // Loaded once: gcc would load it again for each use, and loads are as scarce as multiply-adds.
  ASSAY_INLINE void keep() { asm("" : "+v"(v)); }
};

struct PairedLanes;

struct FloatLanes {
  using ForBf16 = PairedLanes;
  static constexpr int kRowTile = 2;
  static constexpr int kTokenTile = 6;
  using Part = FloatPart;
  static constexpr int kPartRows = 4;
  static constexpr int kPartTokens = 6;
  static constexpr std::size_t kMathWidth = 16;

  __m512 v[2];

  ASSAY_INLINE Part part(std::size_t p) const { return {v[p]}; }
  ASSAY_INLINE static FloatLanes zero() { return broadcast(0.0F); }
  ASSAY_INLINE static FloatLanes broadcast(float x) {
    const __m512 b = _mm512_set1_ps(x);
    return {{b, b}};
  }
  ASSAY_INLINE static FloatLanes load(const float* x) {
    return {{_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16)}};
  }
  ASSAY_INLINE static FloatLanes load_bf16(const std::byte* w) {
    return {{widen_bf16(load_32_bytes(w)), widen_bf16(load_32_bytes(w + 32))}};
  }
  ASSAY_INLINE static FloatLanes load_f16(const std::byte* w) {
    return {{_mm512_cvtph_ps(load_32_bytes(w)), _mm512_cvtph_ps(load_32_bytes(w + 32))}};
  }
  ASSAY_INLINE static FloatLanes load_f32(const std::byte* w) {
    return {{_mm512_loadu_ps(w), _mm512_loadu_ps(w + 64)}};
  }
  ASSAY_INLINE static FloatLanes rounded_to_bf16(FloatLanes x) {
    return {{round_to_bf16(x.v[0]), round_to_bf16(x.v[1])}};
  }

  ASSAY_INLINE void fma(const FloatLanes& a, const FloatLanes& b) {
    v[0] = _mm512_fmadd_ps(a.v[0], b.v[0], v[0]);
    v[1] = _mm512_fmadd_ps(a.v[1], b.v[1], v[1]);
  }
  ASSAY_INLINE void add(const FloatLanes& a) {
    v[0] = _mm512_add_ps(v[0], a.v[0]);
    v[1] = _mm512_add_ps(v[1], a.v[1]);
  }

  // As FloatPart::keep.
  ASSAY_INLINE void keep() { asm("" : "+v"(v[0]), "+v"(v[1])); }

  ASSAY_INLINE void max(const FloatLanes& a) {
    v[0] = _mm512_max_ps(a.v[0], v[0]);
    v[1] = _mm512_max_ps(a.v[1], v[1]);
  }

  ASSAY_INLINE void store(float* out) const {
    _mm512_storeu_ps(out, v[0]);
    _mm512_storeu_ps(out + 16, v[1]);
  }

  // The tree's first step, l with l + 16.
  ASSAY_INLINE void halve(float* to) const { _mm512_storeu_ps(to, _mm512_add_ps(v[0], v[1])); }
  // The rest of it.
  ASSAY_INLINE static float sum(const float* halved) {
    const __m256 b = halve8(halved);
    const __m128 c = _mm_add_ps(_mm256_castps256_ps128(b), _mm256_extractf128_ps(b, 1));  // + 4
    const __m128 d = _mm_add_ps(c, _mm_movehl_ps(c, c));                                  // + 2
    return _mm_cvtss_f32(_mm_add_ss(d, _mm_movehdup_ps(d)));                              // + 1
  }

  // out[i] = sum(halved + 16 * i) for sixteen at once: each step of the tree puts the lanes of two
  // registers into one. Taken in the order 0, 4, 8, 12, 1, 5, ... they end in their own order.
  ASSAY_INLINE static void sums(const float* halved, float* out) {
    __m512 four[4];
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) {
      const float* h = halved + 16 * i;
      four[i] = halve4(halve8(h, h + 64), halve8(h + 128, h + 192));
    }
    _mm512_storeu_ps(out, halve1(halve2(four[0], four[1]), halve2(four[2], four[3])));
  }

  ASSAY_INLINE static void exp(const float* x, float* out) {
    _mm512_storeu_ps(out, Sleef_finz_expf16_u10avx512f(_mm512_loadu_ps(x)));
  }
  ASSAY_INLINE static void tanh(const float* x, float* out) {
    _mm512_storeu_ps(out, Sleef_finz_tanhf16_u10avx512f(_mm512_loadu_ps(x)));
  }

 private:
  // Lane l + lane l + 8; from memory, where it takes no shuffle.
  ASSAY_INLINE static __m256 halve8(const float* halved) {
    return _mm256_add_ps(_mm256_loadu_ps(halved), _mm256_loadu_ps(halved + 8));
  }
  // The same of a, then of b; and so on for pairs, then quadruples of smaller dots.
  ASSAY_INLINE static __m512 halve8(const float* a, const float* b) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(halve8(a)), halve8(b), 1);
  }
  ASSAY_INLINE static __m512 halve4(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
  }
  ASSAY_INLINE static __m512 halve2(__m512 a, __m512 b) {
    const __m512d x = _mm512_castps_pd(a);
    const __m512d y = _mm512_castps_pd(b);
    return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                         _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
  }
  ASSAY_INLINE static __m512 halve1(__m512 a, __m512 b) {
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xDD));
  }
};

// The same lanes, even ones and odd ones apart: BF16 weights come in pairs, and are widened with
// one instruction a register instead of two. Memory is waited for with fewer others in between.
struct PairedLanes {
  static constexpr int kRowTile = FloatLanes::kRowTile;
  static constexpr int kTokenTile = FloatLanes::kTokenTile;

  __m512 even, odd;

  ASSAY_INLINE static PairedLanes zero() { return {_mm512_setzero_ps(), _mm512_setzero_ps()}; }
  ASSAY_INLINE static PairedLanes load(const float* x) {
    const __m512i evens =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odds = _mm512_add_epi32(evens, _mm512_set1_epi32(1));
    const __m512 low = _mm512_loadu_ps(x);
    const __m512 high = _mm512_loadu_ps(x + 16);
    return {_mm512_permutex2var_ps(low, evens, high), _mm512_permutex2var_ps(low, odds, high)};
  }
  ASSAY_INLINE static PairedLanes load_bf16(const std::byte* w) {
    const __m512i pairs = _mm512_loadu_si512(w);
    const __m512i top = _mm512_set1_epi32(static_cast<int>(0xFFFF0000u));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)),
            _mm512_castsi512_ps(_mm512_and_si512(pairs, top))};
  }

  ASSAY_INLINE void fma(const PairedLanes& a, const PairedLanes& b) {
    even = _mm512_fmadd_ps(a.even, b.even, even);
    odd = _mm512_fmadd_ps(a.odd, b.odd, odd);
  }
  ASSAY_INLINE void keep() { asm("" : "+v"(even), "+v"(odd)); }

  ASSAY_INLINE void halve(float* to) const {
    const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    _mm512_storeu_ps(to, _mm512_add_ps(_mm512_permutex2var_ps(even, low, odd),
                                       _mm512_permutex2var_ps(even, high, odd)));
  }
  ASSAY_INLINE static float sum(const float* halved) { return FloatLanes::sum(halved); }
  ASSAY_INLINE static void sums(const float* halved, float* out) { FloatLanes::sums(halved, out); }
};

struct DoublePart {
  __m512d v;

  ASSAY_INLINE static DoublePart zero() { return {_mm512_setzero_pd()}; }
  ASSAY_INLINE static DoublePart load(const double* x) { return {_mm512_loadu_pd(x)}; }
  ASSAY_INLINE void store(double* out) const { _mm512_storeu_pd(out, v); }
  ASSAY_INLINE void fma(DoublePart a, DoublePart b) { v = _mm512_fmadd_pd(a.v, b.v, v); }
  ASSAY_INLINE void add(DoublePart a) { v = _mm512_add_pd(v, a.v); }
  ASSAY_INLINE void keep() { asm("" : "+v"(v)); }
};

struct DoubleLanes {
  static constexpr int kRowTile = 1;
  static constexpr int kTokenTile = 6;
  using Part = DoublePart;
  static constexpr int kPartRows = 4;
  static constexpr int kPartTokens = 6;
  static constexpr std::size_t kMathWidth = 8;

  __m512d v[4];

  ASSAY_INLINE Part part(std::size_t p) const { return {v[p]}; }
  ASSAY_INLINE static DoubleLanes zero() { return broadcast(0.0); }
  ASSAY_INLINE static DoubleLanes broadcast(double x) {
    const __m512d b = _mm512_set1_pd(x);
    return {{b, b, b, b}};
  }
  ASSAY_INLINE static DoubleLanes load(const double* x) {
    return {{_mm512_loadu_pd(x), _mm512_loadu_pd(x + 8), _mm512_loadu_pd(x + 16),
             _mm512_loadu_pd(x + 24)}};
  }
  ASSAY_INLINE static DoubleLanes load_bf16(const std::byte* w) {
    return widened(FloatLanes::load_bf16(w));
  }
  ASSAY_INLINE static DoubleLanes load_f16(const std::byte* w) {
    return widened(FloatLanes::load_f16(w));
  }
  ASSAY_INLINE static DoubleLanes load_f32(const std::byte* w) {
    return widened(FloatLanes::load_f32(w));
  }

  ASSAY_INLINE void fma(const DoubleLanes& a, const DoubleLanes& b) {
    for (int i = 0; i < 4; ++i) v[i] = _mm512_fmadd_pd(a.v[i], b.v[i], v[i]);
  }
  ASSAY_INLINE void add(const DoubleLanes& a) {
    for (int i = 0; i < 4; ++i) v[i] = _mm512_add_pd(v[i], a.v[i]);
  }

  ASSAY_INLINE void max(const DoubleLanes& a) {
    for (int i = 0; i < 4; ++i) v[i] = _mm512_max_pd(a.v[i], v[i]);
  }

  ASSAY_INLINE void store(double* out) const {
    for (int i = 0; i < 4; ++i) _mm512_storeu_pd(out + 8 * i, v[i]);
  }

  ASSAY_INLINE void halve(double* to) const {
    _mm512_storeu_pd(to, _mm512_add_pd(v[0], v[2]));
    _mm512_storeu_pd(to + 8, _mm512_add_pd(v[1], v[3]));
  }
  ASSAY_INLINE static double sum(const double* halved) {
    const __m512d c = _mm512_add_pd(_mm512_loadu_pd(halved), _mm512_loadu_pd(halved + 8));  // + 8
    const __m256d d = _mm256_add_pd(_mm512_castpd512_pd256(c), _mm512_extractf64x4_pd(c, 1));  // +4
    const __m128d e = _mm_add_pd(_mm256_castpd256_pd128(d), _mm256_extractf128_pd(d, 1));  // + 2
    return _mm_cvtsd_f64(_mm_add_sd(e, _mm_unpackhi_pd(e, e)));                            // + 1
  }

  ASSAY_INLINE static void exp(const double* x, double* out) {
    _mm512_storeu_pd(out, Sleef_finz_expd8_u10avx512f(_mm512_loadu_pd(x)));
  }
  ASSAY_INLINE static void tanh(const double* x, double* out) {
    _mm512_storeu_pd(out, Sleef_finz_tanhd8_u10avx512f(_mm512_loadu_pd(x)));
  }

 private:
  ASSAY_INLINE static DoubleLanes widened(const FloatLanes& x) {
    return {{_mm512_cvtps_pd(_mm512_castps512_ps256(x.v[0])),
             _mm512_cvtps_pd(_mm512_extractf32x8_ps(x.v[0], 1)),
             _mm512_cvtps_pd(_mm512_castps512_ps256(x.v[1])),
             _mm512_cvtps_pd(_mm512_extractf32x8_ps(x.v[1], 1))}};
  }
};

}  // namespace
}  // namespace assay
