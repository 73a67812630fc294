// How a run rounds: the three policies that the forward pass and its kernels are compiled for.
//
// A policy defines the type of values (Real; in the KV cache, Cached) and what `round` does after
// each operation whose result transformers would store in a tensor. bf16 values are floats on the
// BF16 grid, so that one kernel source serves all three policies.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>
#include <utility>

#include "assay/numerics.h"

namespace assay {

// Always inlined: a kernel source compiled for AVX-512 must not leave an AVX-512 copy that the
// linker could use elsewhere.
#define ASSAY_INLINE [[gnu::always_inline]] inline

// Use this before a loop of constant length over registers: gcc keeps an array in registers only if
// it unrolls the loops over it early.
#define ASSAY_UNROLL _Pragma("GCC unroll 32")

// Nearest BF16 value, ties to even; a NaN stays a NaN.
ASSAY_INLINE float round_to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) & 0xFFFF0000u;
  const std::uint32_t quiet = (bits | 0x00400000u) & 0xFFFF0000u;
  const bool nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
  return std::bit_cast<float>(nan ? quiet : rounded);
}

// The rounding points of transformers' eager BF16 run.
struct Bf16 {
  using Real = float;
  static constexpr Numerics kNumerics = Numerics::kBf16;
  static constexpr bool kRoundsWeights = true;  // an F32 or F16 checkpoint is cast at load
  static constexpr bool kFlushes = true;        // in dots, see kernels.h
  static constexpr Real kMasked = -3.38953138925153547590470800371487866880e38F;  // BF16's lowest
  ASSAY_INLINE static Real round(Real x) { return round_to_bf16(x); }
  // Keys and values in the KV cache are already rounded, so nothing is lost.
  using Cached = std::uint16_t;  // the bits of a BF16
  ASSAY_INLINE static Cached cached(Real x) {
    return static_cast<Cached>(std::bit_cast<std::uint32_t>(x) >> 16);
  }
  ASSAY_INLINE static Real uncached(Cached bits) {
    return std::bit_cast<Real>(static_cast<std::uint32_t>(bits) << 16);
  }
};

// Every intermediate in FP32.
struct F32 {
  using Real = float;
  static constexpr Numerics kNumerics = Numerics::kF32;
  static constexpr bool kRoundsWeights = false;
  static constexpr bool kFlushes = false;
  static constexpr Real kMasked = std::numeric_limits<float>::lowest();
  ASSAY_INLINE static Real round(Real x) { return x; }
  using Cached = Real;
  ASSAY_INLINE static Cached cached(Real x) { return x; }
  ASSAY_INLINE static Real uncached(Cached x) { return x; }
};

// The oracle: every intermediate in double.
struct F64 {
  using Real = double;
  static constexpr Numerics kNumerics = Numerics::kF64;
  static constexpr bool kRoundsWeights = false;
  static constexpr bool kFlushes = false;
  static constexpr Real kMasked = std::numeric_limits<double>::lowest();
  ASSAY_INLINE static Real round(Real x) { return x; }
  using Cached = Real;
  ASSAY_INLINE static Cached cached(Real x) { return x; }
  ASSAY_INLINE static Real uncached(Cached x) { return x; }
};

// From the name to the code: calls use(Bf16()), use(F32()) or use(F64()).
template <class Use>
decltype(auto) with_numerics(Numerics numerics, Use&& use) {
  switch (numerics) {
    case Numerics::kF32:
      return std::forward<Use>(use)(F32());
    case Numerics::kF64:
      return std::forward<Use>(use)(F64());
    case Numerics::kBf16:
      break;
  }
  return std::forward<Use>(use)(Bf16());
}

}  // namespace assay
