// 32 lanes in NEON registers: eight of four floats, or sixteen of two doubles.
#pragma once

#include <arm_neon.h>
#include <sleef.h>

#include <cstddef>
#include <cstdint>

#include "numerics/numerics.h"

namespace assay {
namespace {

ASSAY_INLINE float32x4_t round_to_bf16(float32x4_t x) {
  const uint32x4_t bits = vreinterpretq_u32_f32(x);
  const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
  const uint32x4_t top = vdupq_n_u32(0xFFFF0000u);
  const uint32x4_t rounded = vandq_u32(vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7FFFu)), odd), top);
  const uint32x4_t quiet = vandq_u32(vorrq_u32(bits, vdupq_n_u32(0x00400000u)), top);
  const uint32x4_t number = vceqq_f32(x, x);
  return vreinterpretq_f32_u32(vbslq_u32(number, rounded, quiet));
}

// As bytes: a file promises no alignment.
ASSAY_INLINE uint8x16_t load_16_bytes(const std::byte* w) {
  return vld1q_u8(reinterpret_cast<const std::uint8_t*>(w));
}

struct FloatPart {
  float32x4_t v;

  ASSAY_INLINE static FloatPart zero() { return {vdupq_n_f32(0.0F)}; }
  ASSAY_INLINE static FloatPart load(const float* x) { return {vld1q_f32(x)}; }
  ASSAY_INLINE void store(float* out) const { vst1q_f32(out, v); }
  ASSAY_INLINE void fma(FloatPart a, FloatPart b) { v = vfmaq_f32(v, a.v, b.v); }
  ASSAY_INLINE void add(FloatPart a) { v = vaddq_f32(v, a.v); }
};

struct FloatLanes {
  // Two dots take half of the 32 registers, a row's lanes 8; a third dot would spill.
  static constexpr int kRowTile = 1;
  static constexpr int kTokenTile = 2;
  using Part = FloatPart;
  static constexpr int kPartRows = 4;
  static constexpr int kPartTokens = 6;
  static constexpr std::size_t kMathWidth = 4;

  float32x4_t v[8];

  ASSAY_INLINE Part part(std::size_t p) const { return {v[p]}; }
  ASSAY_INLINE static FloatLanes zero() { return broadcast(0.0F); }
  ASSAY_INLINE static FloatLanes broadcast(float x) {
    const float32x4_t b = vdupq_n_f32(x);
    return {{b, b, b, b, b, b, b, b}};
  }
  ASSAY_INLINE static FloatLanes load(const float* x) {
    FloatLanes lanes;
    ASSAY_UNROLL
    for (int i = 0; i < 8; ++i) lanes.v[i] = vld1q_f32(x + 4 * i);
    return lanes;
  }
  ASSAY_INLINE static FloatLanes load_bf16(const std::byte* w) {
    FloatLanes lanes;
    const uint16x8_t zero = vdupq_n_u16(0);
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) {
      const uint16x8_t bits = vreinterpretq_u16_u8(load_16_bytes(w + 16 * i));
      lanes.v[2 * i] = vreinterpretq_f32_u16(vzip1q_u16(zero, bits));  // bits << 16
      lanes.v[2 * i + 1] = vreinterpretq_f32_u16(vzip2q_u16(zero, bits));
    }
    return lanes;
  }
  ASSAY_INLINE static FloatLanes load_f16(const std::byte* w) {
    FloatLanes lanes;
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) {
      const float16x8_t half = vreinterpretq_f16_u8(load_16_bytes(w + 16 * i));
      lanes.v[2 * i] = vcvt_f32_f16(vget_low_f16(half));
      lanes.v[2 * i + 1] = vcvt_high_f32_f16(half);
    }
    return lanes;
  }
  ASSAY_INLINE static FloatLanes load_f32(const std::byte* w) {
    FloatLanes lanes;
    ASSAY_UNROLL
    for (int i = 0; i < 8; ++i) lanes.v[i] = vreinterpretq_f32_u8(load_16_bytes(w + 16 * i));
    return lanes;
  }
  ASSAY_INLINE static FloatLanes rounded_to_bf16(FloatLanes x) {
    ASSAY_UNROLL
    for (float32x4_t& part : x.v) part = round_to_bf16(part);
    return x;
  }

  ASSAY_INLINE void fma(const FloatLanes& a, const FloatLanes& b) {
    ASSAY_UNROLL
    for (int i = 0; i < 8; ++i) v[i] = vfmaq_f32(v[i], a.v[i], b.v[i]);
  }
  ASSAY_INLINE void add(const FloatLanes& a) {
    ASSAY_UNROLL
    for (int i = 0; i < 8; ++i) v[i] = vaddq_f32(v[i], a.v[i]);
  }

  // Not vmaxq: its result is NaN where either is.
  ASSAY_INLINE void max(const FloatLanes& a) {
    ASSAY_UNROLL
    for (int i = 0; i < 8; ++i) v[i] = vbslq_f32(vcgtq_f32(a.v[i], v[i]), a.v[i], v[i]);
  }

  ASSAY_INLINE void store(float* out) const {
    ASSAY_UNROLL
    for (int i = 0; i < 8; ++i) vst1q_f32(out + 4 * i, v[i]);
  }

  // The tree's first step, l with l + 16.
  ASSAY_INLINE void halve(float* to) const {
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) vst1q_f32(to + 4 * i, vaddq_f32(v[i], v[i + 4]));
  }
  // The rest of it.
  ASSAY_INLINE static float sum(const float* halved) {
    const float32x4_t a = halve8_halve4(halved);
    return vpadds_f32(vadd_f32(vget_low_f32(a), vget_high_f32(a)));  // + 2, + 1
  }
  ASSAY_INLINE static void sums(const float* halved, float* out) {
    ASSAY_UNROLL
    for (int i = 0; i < 16; i += 4) {
      const float* h = halved + 16 * i;
      const float32x4_t a = halve2(halve8_halve4(h), halve8_halve4(h + 16));
      const float32x4_t b = halve2(halve8_halve4(h + 32), halve8_halve4(h + 48));
      vst1q_f32(out + i, vpaddq_f32(a, b));  // + 1
    }
  }

  ASSAY_INLINE static void exp(const float* x, float* out) {
    vst1q_f32(out, Sleef_finz_expf4_u10advsimd(vld1q_f32(x)));
  }
  ASSAY_INLINE static void tanh(const float* x, float* out) {
    vst1q_f32(out, Sleef_finz_tanhf4_u10advsimd(vld1q_f32(x)));
  }

 private:
  ASSAY_INLINE static float32x4_t halve8_halve4(const float* halved) {
    const float32x4_t a = vaddq_f32(vld1q_f32(halved), vld1q_f32(halved + 8));  // + 8
    const float32x4_t b = vaddq_f32(vld1q_f32(halved + 4), vld1q_f32(halved + 12));
    return vaddq_f32(a, b);  // + 4
  }
  // Lane l + lane l + 2 of a, then of b.
  ASSAY_INLINE static float32x4_t halve2(float32x4_t a, float32x4_t b) {
    return vaddq_f32(vcombine_f32(vget_low_f32(a), vget_low_f32(b)),
                     vcombine_f32(vget_high_f32(a), vget_high_f32(b)));
  }
};

struct DoublePart {
  float64x2_t v;

  ASSAY_INLINE static DoublePart zero() { return {vdupq_n_f64(0.0)}; }
  ASSAY_INLINE static DoublePart load(const double* x) { return {vld1q_f64(x)}; }
  ASSAY_INLINE void store(double* out) const { vst1q_f64(out, v); }
  ASSAY_INLINE void fma(DoublePart a, DoublePart b) { v = vfmaq_f64(v, a.v, b.v); }
  ASSAY_INLINE void add(DoublePart a) { v = vaddq_f64(v, a.v); }
};

struct DoubleLanes {
  static constexpr int kRowTile = 1;
  static constexpr int kTokenTile = 1;
  using Part = DoublePart;
  static constexpr int kPartRows = 4;
  static constexpr int kPartTokens = 6;
  static constexpr std::size_t kMathWidth = 2;

  float64x2_t v[16];

  ASSAY_INLINE Part part(std::size_t p) const { return {v[p]}; }
  ASSAY_INLINE static DoubleLanes zero() { return broadcast(0.0); }
  ASSAY_INLINE static DoubleLanes broadcast(double x) {
    DoubleLanes lanes;
    ASSAY_UNROLL
    for (float64x2_t& part : lanes.v) part = vdupq_n_f64(x);
    return lanes;
  }
  ASSAY_INLINE static DoubleLanes load(const double* x) {
    DoubleLanes lanes;
    ASSAY_UNROLL
    for (int i = 0; i < 16; ++i) lanes.v[i] = vld1q_f64(x + 2 * i);
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
    ASSAY_UNROLL
    for (int i = 0; i < 16; ++i) v[i] = vfmaq_f64(v[i], a.v[i], b.v[i]);
  }
  ASSAY_INLINE void add(const DoubleLanes& a) {
    ASSAY_UNROLL
    for (int i = 0; i < 16; ++i) v[i] = vaddq_f64(v[i], a.v[i]);
  }

  ASSAY_INLINE void max(const DoubleLanes& a) {
    ASSAY_UNROLL
    for (int i = 0; i < 16; ++i) v[i] = vbslq_f64(vcgtq_f64(a.v[i], v[i]), a.v[i], v[i]);
  }

  ASSAY_INLINE void store(double* out) const {
    ASSAY_UNROLL
    for (int i = 0; i < 16; ++i) vst1q_f64(out + 2 * i, v[i]);
  }

  ASSAY_INLINE void halve(double* to) const {
    ASSAY_UNROLL
    for (int i = 0; i < 8; ++i) vst1q_f64(to + 2 * i, vaddq_f64(v[i], v[i + 8]));
  }
  ASSAY_INLINE static double sum(const double* halved) {
    float64x2_t a[4];
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) {
      a[i] = vaddq_f64(vld1q_f64(halved + 2 * i), vld1q_f64(halved + 2 * i + 8));  // + 8
    }
    return vpaddd_f64(vaddq_f64(vaddq_f64(a[0], a[2]), vaddq_f64(a[1], a[3])));  // + 4, + 2, + 1
  }

  ASSAY_INLINE static void exp(const double* x, double* out) {
    vst1q_f64(out, Sleef_finz_expd2_u10advsimd(vld1q_f64(x)));
  }
  ASSAY_INLINE static void tanh(const double* x, double* out) {
    vst1q_f64(out, Sleef_finz_tanhd2_u10advsimd(vld1q_f64(x)));
  }

 private:
  ASSAY_INLINE static DoubleLanes widened(const FloatLanes& x) {
    DoubleLanes lanes;
    ASSAY_UNROLL
    for (int i = 0; i < 8; ++i) {
      lanes.v[2 * i] = vcvt_f64_f32(vget_low_f32(x.v[i]));
      lanes.v[2 * i + 1] = vcvt_high_f64_f32(x.v[i]);
    }
    return lanes;
  }
};

}  // namespace
}  // namespace assay
