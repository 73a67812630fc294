// 32 products at a time by the CPU's own BF16 dot products, for matmul alone. Each instruction adds
// two products to each of sixteen sums, in an order and with roundings of its own, and takes
// subnormals for zero: not the reproducible order.
#pragma once

#include "numerics/lanes_avx512.h"

namespace assay {
namespace {

struct Bf16DotLanes {
  static constexpr int kRowTile = 4;
  static constexpr int kTokenTile = 6;

  struct Packed {
    __m512bh v;
    // Loaded once, as FloatLanes::keep.
    ASSAY_INLINE void keep() { asm("" : "+v"(v)); }
  };

  __m512 v;

  ASSAY_INLINE static Bf16DotLanes zero() { return {_mm512_setzero_ps()}; }
  // Values on the BF16 grid: nothing is rounded.
  ASSAY_INLINE static Packed load(const float* x) {
    return {_mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + 16), _mm512_loadu_ps(x))};
  }
  ASSAY_INLINE static Packed load_bf16(const std::byte* w) {
    return {reinterpret_cast<__m512bh>(_mm512_loadu_si512(w))};
  }
  ASSAY_INLINE static FloatLanes load_f16(const std::byte* w) { return FloatLanes::load_f16(w); }
  ASSAY_INLINE static FloatLanes load_f32(const std::byte* w) { return FloatLanes::load_f32(w); }
  ASSAY_INLINE static Packed rounded_to_bf16(const FloatLanes& x) {
    const FloatLanes on_grid = FloatLanes::rounded_to_bf16(x);
    return {_mm512_cvtne2ps_pbh(on_grid.v[1], on_grid.v[0])};
  }

  ASSAY_INLINE void fma(const Packed& a, const Packed& b) { v = _mm512_dpbf16_ps(v, a.v, b.v); }

  using Partial = __m512;
  ASSAY_INLINE Partial partial() const { return v; }
  ASSAY_INLINE static float sum(Partial a) { return FloatLanes::sum(a); }
  ASSAY_INLINE static void sums(const Partial* dots, float* out) { FloatLanes::sums(dots, out); }
};

}  // namespace
}  // namespace assay
