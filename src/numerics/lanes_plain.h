// Sixteen lanes as plain arrays: the definition that every other lanes_*.h must equal bit for bit.
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

#include "numerics/elements.h"
#include "numerics/flush.h"
#include "numerics/numerics.h"

namespace assay {
namespace {

// The accumulation of numerics N, which flushes under bf16.
template <class N>
struct PlainSums {
  using Real = typename N::Real;
  static Real fma(Real a, Real b, Real c) {
    if constexpr (N::kFlushes) {
      return flushing_fma(a, b, c);
    } else {
      return std::fma(a, b, c);
    }
  }
  static Real add(Real a, Real b) {
    if constexpr (N::kFlushes) {
      return flushing_add(a, b);
    } else {
      return a + b;
    }
  }
};

template <class N>
struct PlainPart {
  using Real = typename N::Real;
  struct Operand {
    Real lane[16];
    static Operand load(const Real* x) {
      Operand operand;
      std::memcpy(operand.lane, x, sizeof operand.lane);
      return operand;
    }
    void store(Real* out) const { std::memcpy(out, lane, sizeof lane); }
  };
  Real lane[16];

  static PlainPart zero() { return {}; }
  void store(Real* out) const { std::memcpy(out, lane, sizeof lane); }
  void fma(const Operand& a, const Operand& b) {
    for (int i = 0; i < 16; ++i) lane[i] = PlainSums<N>::fma(a.lane[i], b.lane[i], lane[i]);
  }
};

template <class N>
struct PlainPairs {
  using Real = typename N::Real;
  using Stored = Real;
  using Operand = typename PlainPart<N>::Operand;
  static constexpr std::size_t kStoredPerPair = 2;
  static constexpr std::size_t kSteps = 2;

  Real even[16], odd[16];

  static PlainPairs zero() { return {}; }
  static PlainPairs load(const Real* x) {
    PlainPairs pairs;
    for (int j = 0; j < 16; ++j) {
      pairs.even[j] = x[2 * j];
      pairs.odd[j] = x[2 * j + 1];
    }
    return pairs;
  }
  static PlainPairs load_bf16(const std::byte* w) {
    return widen<std::uint16_t>(w, [](std::uint16_t bits) { return widen_bf16(bits); });
  }
  static PlainPairs load_f16(const std::byte* w) {
    return widen<std::uint16_t>(w, [](std::uint16_t bits) { return widen_f16(bits); });
  }
  static PlainPairs load_f32(const std::byte* w) {
    return widen<float>(w, [](float value) { return value; });
  }
  static PlainPairs rounded_to_bf16(PlainPairs x) {
    for (Real& value : x.even) value = round_to_bf16(static_cast<float>(value));
    for (Real& value : x.odd) value = round_to_bf16(static_cast<float>(value));
    return x;
  }
  // The same pair in every lane.
  static PlainPairs broadcast(const Stored* pair) {
    PlainPairs pairs;
    for (Real& value : pairs.even) value = pair[0];
    for (Real& value : pairs.odd) value = pair[1];
    return pairs;
  }
  PlainPairs masked(bool keeps_even, bool keeps_odd) const {
    PlainPairs pairs = *this;
    for (Real& value : pairs.even) value = keeps_even ? value : Real{0};
    for (Real& value : pairs.odd) value = keeps_odd ? value : Real{0};
    return pairs;
  }
  static void flatten(const Real* x, Stored* to) { std::memcpy(to, x, 32 * sizeof(Real)); }
  Operand operand(std::size_t step, std::size_t) const {
    return Operand::load(step == 0 ? odd : even);
  }

 private:
  template <class Bits, class Widen>
  static PlainPairs widen(const std::byte* w, Widen widen_one) {
    Real x[32];
    for (int i = 0; i < 32; ++i) {
      Bits bits;
      std::memcpy(&bits, w + sizeof(Bits) * static_cast<std::size_t>(i), sizeof bits);
      x[i] = widen_one(bits);
    }
    return load(x);
  }
};

template <class N>
struct PlainLanes {
  using Real = typename N::Real;
  using Pairs = PlainPairs<N>;
  using Part = PlainPart<N>;
  static constexpr bool kFlushesItself = true;
  static constexpr int kRowTile = 1;
  static constexpr int kTokenTile = 1;
  static constexpr int kPartRows = 1;
  static constexpr int kPartTokens = 2;
  static constexpr int kScoreLanes = 1;
  static constexpr int kScoreQueries = 1;
  static constexpr int kSumGroups = 1;
  static constexpr int kSumQueries = 1;
  static constexpr std::size_t kMathWidth = 1;

  Real lane[16];

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
  void store(Real* out) const { std::memcpy(out, lane, sizeof lane); }

  void dot(const Pairs& a, const Pairs& b) {
    for (int i = 0; i < 16; ++i) lane[i] = PlainSums<N>::fma(a.odd[i], b.odd[i], lane[i]);
    for (int i = 0; i < 16; ++i) lane[i] = PlainSums<N>::fma(a.even[i], b.even[i], lane[i]);
  }
  // The tree of a dot's lanes.
  void dot_add(const PlainLanes& a) {
    for (int i = 0; i < 16; ++i) lane[i] = PlainSums<N>::add(lane[i], a.lane[i]);
  }
  static Real dot_add(Real a, Real b) { return PlainSums<N>::add(a, b); }
  static Real dot_tree(const Real* lanes) {
    return tree_by(lanes, [](Real a, Real b) { return PlainSums<N>::add(a, b); });
  }

  void fma(const PlainLanes& a, const PlainLanes& b) {
    for (int i = 0; i < 16; ++i) lane[i] = std::fma(a.lane[i], b.lane[i], lane[i]);
  }
  void add(const PlainLanes& a) {
    for (int i = 0; i < 16; ++i) lane[i] += a.lane[i];
  }
  static Real tree(const Real* lanes) {
    return tree_by(lanes, [](Real a, Real b) { return a + b; });
  }

  // The greater of both; unchanged if either is NaN.
  void max(const PlainLanes& a) {
    for (int i = 0; i < 16; ++i) lane[i] = a.lane[i] > lane[i] ? a.lane[i] : lane[i];
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
  template <class Add>
  static Real tree_by(const Real* lanes, Add add) {
    Real t[16];
    std::memcpy(t, lanes, sizeof t);
    for (int width = 8; width > 0; width /= 2) {
      for (int l = 0; l < width; ++l) t[l] = add(t[l], t[l + width]);
    }
    return t[0];
  }
};

}  // namespace
}  // namespace assay
