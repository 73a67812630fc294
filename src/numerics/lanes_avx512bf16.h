// Sixteen lanes. Each takes a pair of BF16 values with one instruction, VDPBF16PS: first the fused
// multiply-add of the odd values, then that of the even ones. For operands on the BF16 grid.
#pragma once

#include "numerics/lanes_avx512.h"

namespace assay {
namespace {

ASSAY_INLINE __m512 dot_bf16(__m512 sum, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}

// Values on the BF16 grid: nothing is rounded. Subnormals become zero, as they do in the dot.
ASSAY_INLINE __m512i narrowed(__m512 low, __m512 high) {
  return reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
}

struct WordPart {
  struct Operand {
    __m512i v;
    ASSAY_INLINE static Operand load(const std::uint32_t* x) { return {_mm512_loadu_si512(x)}; }
    ASSAY_INLINE void store(std::uint32_t* out) const { _mm512_storeu_si512(out, v); }
    ASSAY_INLINE void keep() { asm("" : "+v"(v)); }
  };
  __m512 v;

  ASSAY_INLINE static WordPart zero() { return {_mm512_setzero_ps()}; }
  ASSAY_INLINE void store(float* out) const { _mm512_storeu_ps(out, v); }
  ASSAY_INLINE void fma(Operand a, Operand b) { v = dot_bf16(v, a.v, b.v); }
};

// A pair in each of sixteen words, the even element in the low half.
struct WordPairs {
  using Stored = std::uint32_t;
  using Operand = WordPart::Operand;
  static constexpr std::size_t kStoredPerPair = 1;
  static constexpr std::size_t kSteps = 1;
  static constexpr bool kTakesRowsInPlace = true;  // BF16 rows can be operands in place

  __m512i v;

  ASSAY_INLINE static WordPairs zero() { return {_mm512_setzero_si512()}; }
  ASSAY_INLINE static WordPairs load(const float* x) {
    return {narrowed(_mm512_loadu_ps(x), _mm512_loadu_ps(x + 16))};
  }
  ASSAY_INLINE static WordPairs load_bf16(const std::byte* w) { return {_mm512_loadu_si512(w)}; }
  // Values that are not on the grid before they are rounded.
  struct Wide {
    __m512 low, high;
  };
  ASSAY_INLINE static Wide load_f16(const std::byte* w) {
    return {_mm512_cvtph_ps(load_32_bytes(w)), _mm512_cvtph_ps(load_32_bytes(w + 32))};
  }
  ASSAY_INLINE static Wide load_f32(const std::byte* w) {
    return {_mm512_loadu_ps(w), _mm512_loadu_ps(w + 64)};
  }
  ASSAY_INLINE static WordPairs rounded_to_bf16(Wide x) {
    return {narrowed(round_to_bf16(x.low), round_to_bf16(x.high))};
  }
  // Of zeros and normal values, which the conversion does not flush.
  ASSAY_INLINE static WordPairs normal_to_bf16(Wide x) { return {narrowed(x.low, x.high)}; }
  ASSAY_INLINE static WordPairs broadcast(const std::uint32_t* pair) {
    return {_mm512_set1_epi32(static_cast<int>(*pair))};
  }
  ASSAY_INLINE WordPairs masked(bool keeps_even, bool keeps_odd) const {
    const std::uint32_t kept = (keeps_even ? 0xFFFFu : 0u) | (keeps_odd ? 0xFFFF0000u : 0u);
    return {_mm512_and_si512(v, _mm512_set1_epi32(static_cast<int>(kept)))};
  }
  ASSAY_INLINE static void flatten(const float* x, std::uint32_t* to) {
    _mm512_storeu_si512(to, load(x).v);
  }
  ASSAY_INLINE Operand operand(std::size_t, std::size_t) const { return {v}; }
  ASSAY_INLINE void keep() { asm("" : "+v"(v)); }
};

struct WordLanes : FloatLanes {
  using Pairs = WordPairs;
  using Part = WordPart;
  static constexpr int kRowTile = 4;
  static constexpr int kSumGroups = 4;

  ASSAY_INLINE static WordLanes zero() { return {FloatLanes::zero()}; }
  ASSAY_INLINE static WordLanes broadcast(float x) { return {FloatLanes::broadcast(x)}; }
  ASSAY_INLINE static WordLanes load(const float* x) { return {FloatLanes::load(x)}; }
  ASSAY_INLINE static WordLanes trees_of_quarters(const float* quarters) {
    return {FloatLanes::trees_of_quarters(quarters)};
  }
  ASSAY_INLINE void dot(const WordPairs& a, const WordPairs& b) { v = dot_bf16(v, a.v, b.v); }
  // Rounds flushed values to BF16. The instruction would treat subnormals as zero.
  ASSAY_INLINE void round_flushed() {
    const auto bits = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(v));
    v = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
};

}  // namespace
}  // namespace assay
