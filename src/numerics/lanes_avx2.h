// 32 lanes in AVX2 registers: four of eight floats, or eight of four doubles.
#pragma once

#include <immintrin.h>
#include <sleef.h>

#include <cstddef>

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

ASSAY_INLINE __m256 widen_bf16(__m128i x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}

ASSAY_INLINE __m128i load_16_bytes(const std::byte* w) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(w));
}

struct FloatPart {
  __m256 v;

  ASSAY_INLINE static FloatPart zero() { return {_mm256_setzero_ps()}; }
  ASSAY_INLINE static FloatPart load(const float* x) { return {_mm256_loadu_ps(x)}; }
  ASSAY_INLINE void store(float* out) const { _mm256_storeu_ps(out, v); }
  ASSAY_INLINE void fma(FloatPart a, FloatPart b) { v = _mm256_fmadd_ps(a.v, b.v, v); }
  ASSAY_INLINE void add(FloatPart a) { v = _mm256_add_ps(v, a.v); }
};

struct FloatLanes {
  static constexpr int kRowTile = 1;
  static constexpr int kTokenTile = 2;
  // Twelve sums, three tokens and a row take the sixteen registers.
  using Part = FloatPart;
  static constexpr int kPartRows = 4;
  static constexpr int kPartTokens = 3;
  static constexpr std::size_t kMathWidth = 8;

  __m256 v[4];

  ASSAY_INLINE Part part(std::size_t p) const { return {v[p]}; }
  ASSAY_INLINE static FloatLanes zero() { return broadcast(0.0F); }
  ASSAY_INLINE static FloatLanes broadcast(float x) {
    const __m256 b = _mm256_set1_ps(x);
    return {{b, b, b, b}};
  }
  ASSAY_INLINE static FloatLanes load(const float* x) {
    return {{_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8), _mm256_loadu_ps(x + 16),
             _mm256_loadu_ps(x + 24)}};
  }
  ASSAY_INLINE static FloatLanes load_bf16(const std::byte* w) {
    return {{widen_bf16(load_16_bytes(w)), widen_bf16(load_16_bytes(w + 16)),
             widen_bf16(load_16_bytes(w + 32)), widen_bf16(load_16_bytes(w + 48))}};
  }
  ASSAY_INLINE static FloatLanes load_f16(const std::byte* w) {
    return {{_mm256_cvtph_ps(load_16_bytes(w)), _mm256_cvtph_ps(load_16_bytes(w + 16)),
             _mm256_cvtph_ps(load_16_bytes(w + 32)), _mm256_cvtph_ps(load_16_bytes(w + 48))}};
  }
  ASSAY_INLINE static FloatLanes load_f32(const std::byte* w) {
    return load(reinterpret_cast<const float*>(w));
  }
  ASSAY_INLINE static FloatLanes rounded_to_bf16(FloatLanes x) {
    for (__m256& part : x.v) part = round_to_bf16(part);
    return x;
  }

  ASSAY_INLINE void fma(const FloatLanes& a, const FloatLanes& b) {
    for (int i = 0; i < 4; ++i) v[i] = _mm256_fmadd_ps(a.v[i], b.v[i], v[i]);
  }
  ASSAY_INLINE void add(const FloatLanes& a) {
    for (int i = 0; i < 4; ++i) v[i] = _mm256_add_ps(v[i], a.v[i]);
  }

  ASSAY_INLINE void max(const FloatLanes& a) {
    for (int i = 0; i < 4; ++i) v[i] = _mm256_max_ps(a.v[i], v[i]);
  }

  ASSAY_INLINE void store(float* out) const {
    for (int i = 0; i < 4; ++i) _mm256_storeu_ps(out + 8 * i, v[i]);
  }

  // The tree's first step, l with l + 16.
  ASSAY_INLINE void halve(float* to) const {
    _mm256_storeu_ps(to, _mm256_add_ps(v[0], v[2]));
    _mm256_storeu_ps(to + 8, _mm256_add_ps(v[1], v[3]));
  }
  // The rest of it.
  ASSAY_INLINE static float sum(const float* halved) {
    const __m256 c = _mm256_add_ps(_mm256_loadu_ps(halved), _mm256_loadu_ps(halved + 8));  // + 8
    const __m128 d = _mm_add_ps(_mm256_castps256_ps128(c), _mm256_extractf128_ps(c, 1));   // + 4
    const __m128 e = _mm_add_ps(d, _mm_movehl_ps(d, d));                                   // + 2
    return _mm_cvtss_f32(_mm_add_ss(e, _mm_movehdup_ps(e)));                               // + 1
  }

  ASSAY_INLINE static void exp(const float* x, float* out) {
    _mm256_storeu_ps(out, Sleef_finz_expf8_u10avx2(_mm256_loadu_ps(x)));
  }
  ASSAY_INLINE static void tanh(const float* x, float* out) {
    _mm256_storeu_ps(out, Sleef_finz_tanhf8_u10avx2(_mm256_loadu_ps(x)));
  }
};

struct DoublePart {
  __m256d v;

  ASSAY_INLINE static DoublePart zero() { return {_mm256_setzero_pd()}; }
  ASSAY_INLINE static DoublePart load(const double* x) { return {_mm256_loadu_pd(x)}; }
  ASSAY_INLINE void store(double* out) const { _mm256_storeu_pd(out, v); }
  ASSAY_INLINE void fma(DoublePart a, DoublePart b) { v = _mm256_fmadd_pd(a.v, b.v, v); }
  ASSAY_INLINE void add(DoublePart a) { v = _mm256_add_pd(v, a.v); }
};

struct DoubleLanes {
  static constexpr int kRowTile = 1;
  static constexpr int kTokenTile = 1;
  using Part = DoublePart;
  static constexpr int kPartRows = 4;
  static constexpr int kPartTokens = 3;
  static constexpr std::size_t kMathWidth = 4;

  __m256d v[8];

  ASSAY_INLINE Part part(std::size_t p) const { return {v[p]}; }
  ASSAY_INLINE static DoubleLanes zero() { return broadcast(0.0); }
  ASSAY_INLINE static DoubleLanes broadcast(double x) {
    const __m256d b = _mm256_set1_pd(x);
    return {{b, b, b, b, b, b, b, b}};
  }
  ASSAY_INLINE static DoubleLanes load(const double* x) {
    DoubleLanes lanes;
    for (int i = 0; i < 8; ++i) lanes.v[i] = _mm256_loadu_pd(x + 4 * i);
    return lanes;
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
    for (int i = 0; i < 8; ++i) v[i] = _mm256_fmadd_pd(a.v[i], b.v[i], v[i]);
  }
  ASSAY_INLINE void add(const DoubleLanes& a) {
    for (int i = 0; i < 8; ++i) v[i] = _mm256_add_pd(v[i], a.v[i]);
  }

  ASSAY_INLINE void max(const DoubleLanes& a) {
    for (int i = 0; i < 8; ++i) v[i] = _mm256_max_pd(a.v[i], v[i]);
  }

  ASSAY_INLINE void store(double* out) const {
    for (int i = 0; i < 8; ++i) _mm256_storeu_pd(out + 4 * i, v[i]);
  }

  ASSAY_INLINE void halve(double* to) const {
    for (int i = 0; i < 4; ++i) _mm256_storeu_pd(to + 4 * i, _mm256_add_pd(v[i], v[i + 4]));
  }
  ASSAY_INLINE static double sum(const double* halved) {
    __m256d a[4];
    for (int i = 0; i < 4; ++i) a[i] = _mm256_loadu_pd(halved + 4 * i);
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

 private:
  ASSAY_INLINE static DoubleLanes widened(const FloatLanes& x) {
    DoubleLanes lanes;
    for (int i = 0; i < 4; ++i) {
      lanes.v[2 * i] = _mm256_cvtps_pd(_mm256_castps256_ps128(x.v[i]));
      lanes.v[2 * i + 1] = _mm256_cvtps_pd(_mm256_extractf128_ps(x.v[i], 1));
    }
    return lanes;
  }
};

}  // namespace
}  // namespace assay
