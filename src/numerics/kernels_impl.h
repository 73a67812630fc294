// The kernels, written once over a Lanes type. Each kernels_*.cpp includes this after its lanes and
// is compiled for its own instruction set: everything here is in an unnamed namespace, so that no
// copy made for one set can be linked into another.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "numerics/kernels.h"

namespace assay {
namespace {

constexpr std::size_t kLanes = 32;

// Not std::sqrt: an inline library function compiled here could be the copy that everybody links.
ASSAY_INLINE float square_root(float x) { return __builtin_sqrtf(x); }
ASSAY_INLINE double square_root(double x) { return __builtin_sqrt(x); }

// Rows whose weights stay in the L2 cache while all token tiles pass over them.
constexpr std::size_t kRowBlock = 32;

template <DType kStored>
constexpr std::size_t kStoredSize = kStored == DType::kF32 ? 4 : 2;

// 32 weights as lanes of Real.
template <class N, class Lanes, DType kStored>
ASSAY_INLINE Lanes load_weights(const std::byte* w) {
  if constexpr (kStored == DType::kBF16) {
    return Lanes::load_bf16(w);
  } else if constexpr (kStored == DType::kF16) {
    if constexpr (N::kRoundsWeights) return Lanes::rounded_to_bf16(Lanes::load_f16(w));
    return Lanes::load_f16(w);
  } else {
    if constexpr (N::kRoundsWeights) return Lanes::rounded_to_bf16(Lanes::load_f32(w));
    return Lanes::load_f32(w);
  }
}

// The last n < 32 weights, padded with zeros.
template <class N, class Lanes, DType kStored>
ASSAY_INLINE Lanes load_weights_tail(const std::byte* w, std::size_t n) {
  std::byte padded[kLanes * 4] = {};
  std::memcpy(padded, w, n * kStoredSize<kStored>);
  return load_weights<N, Lanes, kStored>(padded);
}

template <class Lanes, class Real>
ASSAY_INLINE Lanes load_tail(const Real* x, std::size_t n) {
  Real padded[kLanes] = {};
  std::memcpy(padded, x, n * sizeof(Real));
  return Lanes::load(padded);
}

// kRows x kTokens dot products at once; the tile's shape does not touch the order within a dot.
template <class N, class Lanes, DType kStored, int kRows, int kTokens>
ASSAY_INLINE void matmul_tile(const typename N::Real* x, const std::byte* w, std::size_t k,
                              typename N::Real* out, std::size_t ldo) {
  constexpr std::size_t kSize = kStoredSize<kStored>;
  const std::size_t whole = k - k % kLanes;
  Lanes sum[kRows][kTokens];
  for (auto& row : sum) {
    for (Lanes& lanes : row) lanes = Lanes::zero();
  }
  for (std::size_t i = 0; i < whole; i += kLanes) {
    Lanes weights[kRows];
    for (int r = 0; r < kRows; ++r) {
      const std::byte* row = w + (static_cast<std::size_t>(r) * k + i) * kSize;
      if constexpr (kRows == 1) __builtin_prefetch(row + 4096);
      weights[r] = load_weights<N, Lanes, kStored>(row);
    }
    for (int t = 0; t < kTokens; ++t) {
      const Lanes tokens = Lanes::load(x + static_cast<std::size_t>(t) * k + i);
      for (int r = 0; r < kRows; ++r) sum[r][t].fma(weights[r], tokens);
    }
  }
  if (whole != k) {
    for (int r = 0; r < kRows; ++r) {
      const Lanes weights = load_weights_tail<N, Lanes, kStored>(
          w + (static_cast<std::size_t>(r) * k + whole) * kSize, k - whole);
      for (int t = 0; t < kTokens; ++t) {
        sum[r][t].fma(weights,
                      load_tail<Lanes>(x + static_cast<std::size_t>(t) * k + whole, k - whole));
      }
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kTokens; ++t)
      out[static_cast<std::size_t>(t) * ldo + r] = N::round(sum[r][t].sum());
  }
}

// All rows of a block for kTokens tokens, kRows at a time.
template <class N, class Lanes, DType kStored, int kRows, int kTokens>
void matmul_rows(const typename N::Real* x, const std::byte* w, std::size_t rows, std::size_t k,
                 typename N::Real* out, std::size_t ldo) {
  const std::size_t row_bytes = k * kStoredSize<kStored>;
  std::size_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    matmul_tile<N, Lanes, kStored, kRows, kTokens>(x, w + r * row_bytes, k, out + r, ldo);
  }
  for (; r < rows; ++r) {
    matmul_tile<N, Lanes, kStored, 1, kTokens>(x, w + r * row_bytes, k, out + r, ldo);
  }
}

// As matmul_rows for `tokens` <= kTokens: finds the instantiation.
template <class N, class Lanes, DType kStored, int kRows, int kTokens>
void matmul_tokens(const typename N::Real* x, std::size_t tokens, const std::byte* w,
                   std::size_t rows, std::size_t k, typename N::Real* out, std::size_t ldo) {
  if constexpr (kTokens > 0) {
    if (tokens == kTokens) {
      matmul_rows<N, Lanes, kStored, kRows, kTokens>(x, w, rows, k, out, ldo);
    } else {
      matmul_tokens<N, Lanes, kStored, kRows, kTokens - 1>(x, tokens, w, rows, k, out, ldo);
    }
  }
}

template <class N, class Lanes, DType kStored>
void matmul_stored(const typename N::Real* x, std::size_t tokens, const Weight& w,
                   std::size_t row_begin, std::size_t row_end, typename N::Real* out,
                   std::size_t ldo) {
  constexpr std::size_t kTokens = Lanes::kTokenTile;
  // Few tokens are a memory stream, and a single row at a time reads fastest.
  if (tokens <= kTokens) {
    matmul_tokens<N, Lanes, kStored, 1, Lanes::kTokenTile>(
        x, tokens, w.data + row_begin * w.cols * kStoredSize<kStored>, row_end - row_begin, w.cols,
        out + row_begin, ldo);
    return;
  }
  for (std::size_t r = row_begin; r < row_end; r += kRowBlock) {
    const std::size_t rows = std::min(kRowBlock, row_end - r);
    const std::byte* block = w.data + r * w.cols * kStoredSize<kStored>;
    for (std::size_t t = 0; t < tokens; t += kTokens) {
      matmul_tokens<N, Lanes, kStored, Lanes::kRowTile, Lanes::kTokenTile>(
          x + t * w.cols, std::min(kTokens, tokens - t), block, rows, w.cols, out + t * ldo + r,
          ldo);
    }
  }
}

// Calls body.operator()<dtype>() for the weight's stored type.
template <class Body>
ASSAY_INLINE void with_stored(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::kF16:
      return body.template operator()<DType::kF16>();
    case DType::kF32:
      return body.template operator()<DType::kF32>();
    default:
      return body.template operator()<DType::kBF16>();
  }
}

template <class N, class Lanes>
struct KernelSet {
  using Real = typename N::Real;

  static void matmul(const Real* x, std::size_t tokens, const Weight& w, std::size_t row_begin,
                     std::size_t row_end, Real* out, std::size_t ldo) {
    with_stored(w.dtype, [&]<DType kStored>() {
      matmul_stored<N, Lanes, kStored>(x, tokens, w, row_begin, row_end, out, ldo);
    });
  }

  static void load_row(const Weight& w, std::size_t row, Real* out) {
    with_stored(w.dtype, [&]<DType kStored>() {
      const std::byte* data = w.data + row * w.cols * kStoredSize<kStored>;
      for (std::size_t i = 0; i < w.cols; i += kLanes) {
        const std::size_t n = std::min(kLanes, w.cols - i);
        const std::byte* at = data + i * kStoredSize<kStored>;
        const Lanes lanes = n == kLanes ? load_weights<N, Lanes, kStored>(at)
                                        : load_weights_tail<N, Lanes, kStored>(at, n);
        std::memcpy(out + i, &lanes, n * sizeof(Real));
      }
    });
  }

  // The dot product of two activations.
  ASSAY_INLINE static Real dot(const Real* a, const Real* b, std::size_t n) {
    Lanes sum = Lanes::zero();
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) sum.fma(Lanes::load(a + i), Lanes::load(b + i));
    if (i < n) sum.fma(load_tail<Lanes>(a + i, n - i), load_tail<Lanes>(b + i, n - i));
    return sum.sum();
  }

  static void rms_norm(const Real* x, const Weight& w, Real eps, std::size_t n, Real* out) {
    const Real r = Real{1} / square_root(dot(x, x, n) / static_cast<Real>(n) + eps);
    with_stored(w.dtype, [&]<DType kStored>() {
      for (std::size_t i = 0; i < n; i += kLanes) {
        const std::size_t count = std::min(kLanes, n - i);
        const std::byte* at = w.data + i * kStoredSize<kStored>;
        const Lanes lanes = count == kLanes ? load_weights<N, Lanes, kStored>(at)
                                            : load_weights_tail<N, Lanes, kStored>(at, count);
        Real weight[kLanes];
        std::memcpy(weight, &lanes, sizeof weight);
        for (std::size_t j = 0; j < count; ++j) {
          out[i + j] = N::round(weight[j] * N::round(x[i + j] * r));
        }
      }
    });
  }

  static void rope(const Real* x, const Real* cos, const Real* sin, std::size_t n, Real* out) {
    const std::size_t half = n / 2;
    for (std::size_t i = 0; i < half; ++i) {
      const Real low = x[i];
      const Real high = x[i + half];
      out[i] = N::round(N::round(low * cos[i]) + N::round(-high * sin[i]));
      out[i + half] = N::round(N::round(high * cos[i + half]) + N::round(low * sin[i + half]));
    }
  }

  static void scores(const Real* q, const Real* keys, std::size_t count, std::size_t n, Real scale,
                     Real* out) {
    for (std::size_t j = 0; j < count; ++j) {
      out[j] = N::round(N::round(dot(q, keys + j * n, n)) * scale);
    }
  }

  // out[i] = exp(x[i]); the tail goes through a padded block, so that every element takes one path.
  ASSAY_INLINE static void exp(const Real* x, std::size_t n, Real* out) {
    constexpr std::size_t kWidth = Lanes::kExpWidth;
    std::size_t i = 0;
    for (; i + kWidth <= n; i += kWidth) Lanes::exp(x + i, out + i);
    if (i < n) {
      Real padded[kWidth] = {};
      std::memcpy(padded, x + i, (n - i) * sizeof(Real));
      Lanes::exp(padded, padded);
      std::memcpy(out + i, padded, (n - i) * sizeof(Real));
    }
  }

  static void softmax(const Real* x, std::size_t count, Real* out) {
    Real highest = x[0];
    for (std::size_t j = 1; j < count; ++j) highest = x[j] > highest ? x[j] : highest;
    for (std::size_t j = 0; j < count; ++j) out[j] = x[j] - highest;
    exp(out, count, out);
    Lanes sum = Lanes::zero();
    std::size_t j = 0;
    for (; j + kLanes <= count; j += kLanes) sum.add(Lanes::load(out + j));
    if (j < count) sum.add(load_tail<Lanes>(out + j, count - j));
    const Real total = sum.sum();
    for (std::size_t i = 0; i < count; ++i) out[i] = N::round(out[i] / total);
  }

  static void weighted_sum(const Real* probs, const Real* values, std::size_t count, std::size_t n,
                           Real* out) {
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      Lanes sum = Lanes::zero();
      for (std::size_t j = 0; j < count; ++j) {
        sum.fma(Lanes::broadcast(probs[j]), Lanes::load(values + j * n + i));
      }
      store_rounded(sum, kLanes, out + i);
    }
    if (i < n) {
      Lanes sum = Lanes::zero();
      for (std::size_t j = 0; j < count; ++j) {
        sum.fma(Lanes::broadcast(probs[j]), load_tail<Lanes>(values + j * n + i, n - i));
      }
      store_rounded(sum, n - i, out + i);
    }
  }

  static void silu_mul(const Real* gate, const Real* up, std::size_t n, Real* out) {
    constexpr std::size_t kBlock = 64;
    Real e[kBlock];
    for (std::size_t i = 0; i < n; i += kBlock) {
      const std::size_t count = std::min(kBlock, n - i);
      for (std::size_t j = 0; j < count; ++j) e[j] = -gate[i + j];
      exp(e, count, e);
      for (std::size_t j = 0; j < count; ++j) {
        out[i + j] = N::round(N::round(gate[i + j] / (Real{1} + e[j])) * up[i + j]);
      }
    }
  }

  static void add(const Real* a, const Real* b, std::size_t n, Real* out) {
    for (std::size_t i = 0; i < n; ++i) out[i] = N::round(a[i] + b[i]);
  }

  ASSAY_INLINE static void store_rounded(const Lanes& lanes, std::size_t n, Real* out) {
    Real values[kLanes];
    std::memcpy(values, &lanes, sizeof values);
    for (std::size_t i = 0; i < n; ++i) out[i] = N::round(values[i]);
  }

  static constexpr Kernels<N> kTable = {matmul,  load_row,     rms_norm, rope, scores,
                                        softmax, weighted_sum, silu_mul, add};
};

}  // namespace
}  // namespace assay
