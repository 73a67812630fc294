// Accumulation for numerics bf16, one operation at a time: subnormal operands and results count as
// zero. FMA does this under MXCSR's FTZ and DAZ, and VDPBF16PS always.
#pragma once

#include <cmath>
#include <limits>

namespace assay {
namespace {

constexpr float kSmallestNormal = std::numeric_limits<float>::min();  // 2^-126

// x, or zero with the same sign if x is subnormal.
inline float flushed(float x) {
  return std::fabs(x) < kSmallestNormal ? std::copysign(0.0F, x) : x;
}

// Whether a result is subnormal is decided after rounding with an unbounded exponent: a result that
// fmaf rounds up to 2^-126 may still be below it by half of its own step. The same fmaf on scaled
// operands, far from the smallest exponent, tells. Nothing overflows: when the result is that
// small, so are product and addend.
inline float flushing_fma(float a, float b, float c) {
  a = flushed(a);
  b = flushed(b);
  c = flushed(c);
  const float result = std::fma(a, b, c);
  if (std::fabs(result) != kSmallestNormal) return flushed(result);
  const float scaled = std::fma(a * 0x1p40F, b * 0x1p40F, c * 0x1p80F);
  return std::fabs(scaled) < 0x1p-46F ? std::copysign(0.0F, result) : result;
}

// A subnormal sum is always exact.
inline float flushing_add(float a, float b) { return flushed(flushed(a) + flushed(b)); }

}  // namespace
}  // namespace assay
