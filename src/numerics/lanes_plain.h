// 32 lanes as plain arrays: the definition that every other lanes_*.h must equal bit for bit.
#pragma once

// sleef.h declares its FMA functions only where this is defined, which not every compiler does.
#ifndef FP_FAST_FMA
#define FP_FAST_FMA
#endif
#include <sleef.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "numerics/numerics.h"

namespace assay {
namespace {

inline float widen_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

inline float widen_f16(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t magnitude = bits & 0x7FFFu;
  // Shifting exponent and mantissa into place leaves the exponent 112 too small; the product is
  // exact and also normalises subnormals.
  if (magnitude >= 0x7C00u) {
    // The hardware conversions make a signalling NaN quiet.
    const std::uint32_t quiet = magnitude > 0x7C00u ? 0x00400000u : 0u;
    return std::bit_cast<float>(sign | 0x7F800000u | quiet | ((magnitude & 0x3FFu) << 13));
  }
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112F;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(scaled));
}

template <class Real>
struct PlainPart {
  Real lane[16];

  static PlainPart zero() { return {}; }
  static PlainPart load(const Real* x) {
    PlainPart part;
    std::memcpy(part.lane, x, sizeof part.lane);
    return part;
  }
  void store(Real* out) const { std::memcpy(out, lane, sizeof lane); }
  void fma(const PlainPart& a, const PlainPart& b) {
    for (int i = 0; i < 16; ++i) lane[i] = std::fma(a.lane[i], b.lane[i], lane[i]);
  }
  void add(const PlainPart& a) {
    for (int i = 0; i < 16; ++i) lane[i] += a.lane[i];
  }
};

template <class Real>
struct PlainLanes {
  static constexpr int kRowTile = 1;
  static constexpr int kTokenTile = 1;
  using Part = PlainPart<Real>;
  static constexpr int kPartRows = 1;
  static constexpr int kPartTokens = 2;
  static constexpr std::size_t kMathWidth = 1;

  Real lane[32];

  Part part(std::size_t p) const { return Part::load(lane + 16 * p); }

  static PlainLanes zero() { return {}; }

  static PlainLanes broadcast(Real x) {
    PlainLanes lanes;
    for (Real& value : lanes.lane) value = x;
    return lanes;
  }

  static PlainLanes load(const Real* x) {
    PlainLanes lanes;
    std::memcpy(lanes.lane, x, sizeof lanes.lane);
    return lanes;
  }

  static PlainLanes load_bf16(const std::byte* w) {
    return widen(w, [](std::uint16_t bits) { return widen_bf16(bits); });
  }
  static PlainLanes load_f16(const std::byte* w) {
    return widen(w, [](std::uint16_t bits) { return widen_f16(bits); });
  }
  static PlainLanes load_f32(const std::byte* w) {
    PlainLanes lanes;
    for (int i = 0; i < 32; ++i) {
      float value;
      std::memcpy(&value, w + 4 * i, 4);
      lanes.lane[i] = value;
    }
    return lanes;
  }

  static PlainLanes rounded_to_bf16(PlainLanes x) {
    for (Real& value : x.lane) value = round_to_bf16(static_cast<float>(value));
    return x;
  }

  void fma(const PlainLanes& a, const PlainLanes& b) {
    for (int i = 0; i < 32; ++i) lane[i] = std::fma(a.lane[i], b.lane[i], lane[i]);
  }

  void add(const PlainLanes& a) {
    for (int i = 0; i < 32; ++i) lane[i] += a.lane[i];
  }

  // The greater of both; the one it had where either is NaN.
  void max(const PlainLanes& a) {
    for (int i = 0; i < 32; ++i) lane[i] = a.lane[i] > lane[i] ? a.lane[i] : lane[i];
  }

  void store(Real* out) const { std::memcpy(out, lane, sizeof lane); }

  // The tree's first step, l with l + 16: what is kept of a finished dot.
  void halve(Real* to) const {
    for (int l = 0; l < 16; ++l) to[l] = lane[l] + lane[l + 16];
  }
  // The rest of it.
  static Real sum(const Real* halved) {
    Real t[16];
    std::memcpy(t, halved, sizeof t);
    for (int width = 8; width > 0; width /= 2) {
      for (int l = 0; l < width; ++l) t[l] += t[l + width];
    }
    return t[0];
  }

  static void exp(const Real* x, Real* out) {
    if constexpr (sizeof(Real) == 4) {
      *out = Sleef_finz_expf1_u10purecfma(*x);
    } else {
      *out = Sleef_finz_expd1_u10purecfma(*x);
    }
  }
  static void tanh(const Real* x, Real* out) {
    if constexpr (sizeof(Real) == 4) {
      *out = Sleef_finz_tanhf1_u10purecfma(*x);
    } else {
      *out = Sleef_finz_tanhd1_u10purecfma(*x);
    }
  }

 private:
  template <class Widen>
  static PlainLanes widen(const std::byte* w, Widen widen_one) {
    PlainLanes lanes;
    for (int i = 0; i < 32; ++i) {
      std::uint16_t bits;
      std::memcpy(&bits, w + 2 * i, 2);
      lanes.lane[i] = widen_one(bits);
    }
    return lanes;
  }
};

}  // namespace
}  // namespace assay
