// Sixteen lanes in NEON registers: four of four floats, or eight of two doubles.
//
// AArch64's own flushing decides before rounding what is subnormal, the contract after rounding. So
// the kernels run in that mode, and if anything was flushed, they run again with lanes that flush
// as the contract says (kExact).
#pragma once

#include <arm_neon.h>
#include <sleef.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "numerics/flush.h"
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

// Loads bytes, because a file guarantees no alignment.
ASSAY_INLINE uint8x16_t load_16_bytes(const std::byte* w) {
  return vld1q_u8(reinterpret_cast<const std::uint8_t*>(w));
}

// x, with subnormals replaced by zeros of the same sign.
ASSAY_INLINE float32x4_t flushed(float32x4_t x) {
  const uint32x4_t small = vcaltq_f32(x, vdupq_n_f32(kSmallestNormal));
  const uint32x4_t sign = vandq_u32(vreinterpretq_u32_f32(x), vdupq_n_u32(0x80000000u));
  return vbslq_f32(small, vreinterpretq_f32_u32(sign), x);
}

// sum + a * b, and sum + a.
template <bool kExact>
ASSAY_INLINE float32x4_t accumulated(float32x4_t sum, float32x4_t a, float32x4_t b) {
  if constexpr (!kExact) {
    return vfmaq_f32(sum, a, b);
  } else {
    a = flushed(a);
    b = flushed(b);
    const float32x4_t result = vfmaq_f32(sum, a, b);
    const float32x4_t least = vdupq_n_f32(kSmallestNormal);
    if (vmaxvq_u32(vceqq_f32(vabsq_f32(result), least)) == 0) return flushed(result);
    float lanes[4], x[4], y[4];
    vst1q_f32(lanes, sum);
    vst1q_f32(x, a);
    vst1q_f32(y, b);
    for (int i = 0; i < 4; ++i) lanes[i] = flushing_fma(x[i], y[i], lanes[i]);
    return vld1q_f32(lanes);
  }
}
template <bool kExact>
ASSAY_INLINE float32x4_t accumulated(float32x4_t sum, float32x4_t a) {
  return kExact ? flushed(vaddq_f32(sum, a)) : vaddq_f32(sum, a);
}

template <bool kExact>
struct FloatPart {
  struct Operand {
    float32x4_t v;
    ASSAY_INLINE static Operand load(const float* x) { return {vld1q_f32(x)}; }
    ASSAY_INLINE void store(float* out) const { vst1q_f32(out, v); }
  };
  float32x4_t v;

  ASSAY_INLINE static FloatPart zero() { return {vdupq_n_f32(0.0F)}; }
  ASSAY_INLINE void store(float* out) const { vst1q_f32(out, v); }
  ASSAY_INLINE void fma(Operand a, Operand b) { v = accumulated<kExact>(v, a.v, b.v); }
};

struct FloatPairs {
  using Stored = float;
  using Operand = FloatPart<false>::Operand;
  static constexpr std::size_t kStoredPerPair = 2;
  static constexpr std::size_t kSteps = 2;

  float32x4_t even[4], odd[4];

  ASSAY_INLINE static FloatPairs zero() {
    FloatPairs pairs;
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) pairs.even[i] = pairs.odd[i] = vdupq_n_f32(0.0F);
    return pairs;
  }
  ASSAY_INLINE static FloatPairs load(const float* x) {
    FloatPairs pairs;
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) {
      const float32x4x2_t apart = vld2q_f32(x + 8 * i);
      pairs.even[i] = apart.val[0];
      pairs.odd[i] = apart.val[1];
    }
    return pairs;
  }
  ASSAY_INLINE static FloatPairs load_bf16(const std::byte* w) {
    FloatPairs pairs;
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) {
      const uint32x4_t words = vreinterpretq_u32_u8(load_16_bytes(w + 16 * i));
      pairs.even[i] = vreinterpretq_f32_u32(vshlq_n_u32(words, 16));
      pairs.odd[i] = vreinterpretq_f32_u32(vandq_u32(words, vdupq_n_u32(0xFFFF0000u)));
    }
    return pairs;
  }
  ASSAY_INLINE static FloatPairs load_f16(const std::byte* w) {
    FloatPairs pairs;
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) {
      const float16x8_t half = vreinterpretq_f16_u8(load_16_bytes(w + 16 * i));
      pairs.apart(i, vcvt_f32_f16(vget_low_f16(half)), vcvt_high_f32_f16(half));
    }
    return pairs;
  }
  ASSAY_INLINE static FloatPairs load_f32(const std::byte* w) {
    FloatPairs pairs;
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) {
      pairs.apart(i, vreinterpretq_f32_u8(load_16_bytes(w + 32 * i)),
                  vreinterpretq_f32_u8(load_16_bytes(w + 32 * i + 16)));
    }
    return pairs;
  }
  ASSAY_INLINE static FloatPairs rounded_to_bf16(FloatPairs x) {
    ASSAY_UNROLL
    for (float32x4_t& part : x.even) part = round_to_bf16(part);
    ASSAY_UNROLL
    for (float32x4_t& part : x.odd) part = round_to_bf16(part);
    return x;
  }
  // The same pair in every lane.
  ASSAY_INLINE static FloatPairs broadcast(const float* pair) {
    FloatPairs pairs;
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) {
      pairs.even[i] = vdupq_n_f32(pair[0]);
      pairs.odd[i] = vdupq_n_f32(pair[1]);
    }
    return pairs;
  }
  ASSAY_INLINE FloatPairs masked(bool keeps_even, bool keeps_odd) const {
    const uint32x4_t e = vdupq_n_u32(keeps_even ? ~0u : 0u);
    const uint32x4_t o = vdupq_n_u32(keeps_odd ? ~0u : 0u);
    FloatPairs pairs;
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) {
      pairs.even[i] = vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(even[i]), e));
      pairs.odd[i] = vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(odd[i]), o));
    }
    return pairs;
  }
  ASSAY_INLINE static void flatten(const float* x, float* to) { std::memcpy(to, x, 128); }
  ASSAY_INLINE Operand operand(std::size_t step, std::size_t p) const {
    return {step == 0 ? odd[p] : even[p]};
  }

 private:
  ASSAY_INLINE void apart(int i, float32x4_t low, float32x4_t high) {
    even[i] = vuzp1q_f32(low, high);
    odd[i] = vuzp2q_f32(low, high);
  }
};

template <bool kExact>
struct FloatLanesOf {
  using Exact = FloatLanesOf<true>;
  using Pairs = FloatPairs;
  using Part = FloatPart<kExact>;
  static constexpr int kRowTile = 1;
  static constexpr int kTokenTile = 2;
  static constexpr int kPartRows = 4;
  static constexpr int kPartTokens = 6;
  static constexpr int kScoreLanes = 2;
  static constexpr int kScoreQueries = 2;
  static constexpr int kSumGroups = 1;
  static constexpr int kSumQueries = 4;
  static constexpr std::size_t kMathWidth = 4;

  float32x4_t v[4];

  ASSAY_INLINE static FloatLanesOf zero() { return broadcast(0.0F); }
  ASSAY_INLINE static FloatLanesOf broadcast(float x) {
    const float32x4_t b = vdupq_n_f32(x);
    return {{b, b, b, b}};
  }
  ASSAY_INLINE static FloatLanesOf load(const float* x) {
    FloatLanesOf lanes;
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) lanes.v[i] = vld1q_f32(x + 4 * i);
    return lanes;
  }
  ASSAY_INLINE void store(float* out) const {
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) vst1q_f32(out + 4 * i, v[i]);
  }

  ASSAY_INLINE void dot(const FloatPairs& a, const FloatPairs& b) {
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) v[i] = accumulated<kExact>(v[i], a.odd[i], b.odd[i]);
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) v[i] = accumulated<kExact>(v[i], a.even[i], b.even[i]);
  }
  ASSAY_INLINE void dot_add(const FloatLanesOf& a) {
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) v[i] = accumulated<kExact>(v[i], a.v[i]);
  }
  ASSAY_INLINE static float dot_add(float a, float b) {
    return kExact ? flushing_add(a, b) : a + b;
  }
  ASSAY_INLINE static float dot_tree(const float* lanes) { return tree_by<kExact>(lanes); }

  ASSAY_INLINE void fma(const FloatLanesOf& a, const FloatLanesOf& b) {
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) v[i] = vfmaq_f32(v[i], a.v[i], b.v[i]);
  }
  ASSAY_INLINE void add(const FloatLanesOf& a) {
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) v[i] = vaddq_f32(v[i], a.v[i]);
  }
  // Not vmaxq, whose result is NaN if either operand is NaN.
  ASSAY_INLINE void max(const FloatLanesOf& a) {
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) v[i] = vbslq_f32(vcgtq_f32(a.v[i], v[i]), a.v[i], v[i]);
  }

  ASSAY_INLINE static float tree(const float* lanes) { return tree_by<false>(lanes); }

  ASSAY_INLINE static void exp(const float* x, float* out) {
    vst1q_f32(out, Sleef_finz_expf4_u10advsimd(vld1q_f32(x)));
  }
  ASSAY_INLINE static void tanh(const float* x, float* out) {
    vst1q_f32(out, Sleef_finz_tanhf4_u10advsimd(vld1q_f32(x)));
  }

 private:
  template <bool kFlushes>
  ASSAY_INLINE static float tree_by(const float* lanes) {
    const float32x4_t a = accumulated<kFlushes>(vld1q_f32(lanes), vld1q_f32(lanes + 8));  // + 8
    const float32x4_t b = accumulated<kFlushes>(vld1q_f32(lanes + 4), vld1q_f32(lanes + 12));
    const float32x4_t c = accumulated<kFlushes>(a, b);                       // + 4
    const float32x4_t d = accumulated<kFlushes>(c, vextq_f32(c, c, 2));      // + 2
    return vgetq_lane_f32(accumulated<kFlushes>(d, vextq_f32(d, d, 1)), 0);  // + 1
  }
};

using FloatLanes = FloatLanesOf<false>;

struct DoublePart {
  struct Operand {
    float64x2_t v;
    ASSAY_INLINE static Operand load(const double* x) { return {vld1q_f64(x)}; }
    ASSAY_INLINE void store(double* out) const { vst1q_f64(out, v); }
  };
  float64x2_t v;

  ASSAY_INLINE static DoublePart zero() { return {vdupq_n_f64(0.0)}; }
  ASSAY_INLINE void store(double* out) const { vst1q_f64(out, v); }
  ASSAY_INLINE void fma(Operand a, Operand b) { v = vfmaq_f64(v, a.v, b.v); }
};

struct DoublePairs {
  using Stored = double;
  using Operand = DoublePart::Operand;
  static constexpr std::size_t kStoredPerPair = 2;
  static constexpr std::size_t kSteps = 2;

  float64x2_t even[8], odd[8];

  ASSAY_INLINE static DoublePairs zero() { return widened(FloatPairs::zero()); }
  ASSAY_INLINE static DoublePairs load(const double* x) {
    DoublePairs pairs;
    ASSAY_UNROLL
    for (int i = 0; i < 8; ++i) {
      const float64x2x2_t apart = vld2q_f64(x + 4 * i);
      pairs.even[i] = apart.val[0];
      pairs.odd[i] = apart.val[1];
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
    DoublePairs pairs;
    ASSAY_UNROLL
    for (int i = 0; i < 8; ++i) {
      pairs.even[i] = vdupq_n_f64(pair[0]);
      pairs.odd[i] = vdupq_n_f64(pair[1]);
    }
    return pairs;
  }
  ASSAY_INLINE DoublePairs masked(bool keeps_even, bool keeps_odd) const {
    const float64x2_t none = vdupq_n_f64(0.0);
    DoublePairs pairs;
    ASSAY_UNROLL
    for (int i = 0; i < 8; ++i) {
      pairs.even[i] = keeps_even ? even[i] : none;
      pairs.odd[i] = keeps_odd ? odd[i] : none;
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
    for (int i = 0; i < 4; ++i) {
      pairs.even[2 * i] = vcvt_f64_f32(vget_low_f32(x.even[i]));
      pairs.even[2 * i + 1] = vcvt_high_f64_f32(x.even[i]);
      pairs.odd[2 * i] = vcvt_f64_f32(vget_low_f32(x.odd[i]));
      pairs.odd[2 * i + 1] = vcvt_high_f64_f32(x.odd[i]);
    }
    return pairs;
  }
};

struct DoubleLanes {
  using Pairs = DoublePairs;
  using Part = DoublePart;
  static constexpr int kRowTile = 1;
  static constexpr int kTokenTile = 1;
  static constexpr int kPartRows = 4;
  static constexpr int kPartTokens = 6;
  static constexpr int kScoreLanes = 1;
  static constexpr int kScoreQueries = 1;
  static constexpr int kSumGroups = 1;
  static constexpr int kSumQueries = 1;
  static constexpr std::size_t kMathWidth = 2;

  float64x2_t v[8];

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
    for (int i = 0; i < 8; ++i) lanes.v[i] = vld1q_f64(x + 2 * i);
    return lanes;
  }
  ASSAY_INLINE void store(double* out) const {
    ASSAY_UNROLL
    for (int i = 0; i < 8; ++i) vst1q_f64(out + 2 * i, v[i]);
  }

  ASSAY_INLINE void dot(const DoublePairs& a, const DoublePairs& b) {
    ASSAY_UNROLL
    for (int i = 0; i < 8; ++i) v[i] = vfmaq_f64(v[i], a.odd[i], b.odd[i]);
    ASSAY_UNROLL
    for (int i = 0; i < 8; ++i) v[i] = vfmaq_f64(v[i], a.even[i], b.even[i]);
  }
  ASSAY_INLINE void dot_add(const DoubleLanes& a) { add(a); }
  ASSAY_INLINE static double dot_add(double a, double b) { return a + b; }
  ASSAY_INLINE static double dot_tree(const double* lanes) { return tree(lanes); }

  ASSAY_INLINE void fma(const DoubleLanes& a, const DoubleLanes& b) {
    ASSAY_UNROLL
    for (int i = 0; i < 8; ++i) v[i] = vfmaq_f64(v[i], a.v[i], b.v[i]);
  }
  ASSAY_INLINE void add(const DoubleLanes& a) {
    ASSAY_UNROLL
    for (int i = 0; i < 8; ++i) v[i] = vaddq_f64(v[i], a.v[i]);
  }
  ASSAY_INLINE void max(const DoubleLanes& a) {
    ASSAY_UNROLL
    for (int i = 0; i < 8; ++i) v[i] = vbslq_f64(vcgtq_f64(a.v[i], v[i]), a.v[i], v[i]);
  }

  ASSAY_INLINE static double tree(const double* lanes) {
    float64x2_t a[4];
    ASSAY_UNROLL
    for (int i = 0; i < 4; ++i) {
      a[i] = vaddq_f64(vld1q_f64(lanes + 2 * i), vld1q_f64(lanes + 2 * i + 8));  // + 8
    }
    return vpaddd_f64(vaddq_f64(vaddq_f64(a[0], a[2]), vaddq_f64(a[1], a[3])));  // + 4, + 2, + 1
  }

  ASSAY_INLINE static void exp(const double* x, double* out) {
    vst1q_f64(out, Sleef_finz_expd2_u10advsimd(vld1q_f64(x)));
  }
  ASSAY_INLINE static void tanh(const double* x, double* out) {
    vst1q_f64(out, Sleef_finz_tanhd2_u10advsimd(vld1q_f64(x)));
  }
};

}  // namespace
}  // namespace assay
