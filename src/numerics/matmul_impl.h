// Dot products in tiles: of activations with weights, and of queries with keys. Which dots share a
// tile, and where a long one is set down and taken up again, does not touch the order within a dot.
// Included as kernels_impl.h is.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "numerics/kernels.h"

namespace assay {
namespace {

constexpr std::size_t kLanes = 32;
// Rows of weights whose dots are summed up together.
constexpr std::size_t kGroup = 16;
// Rows that stay in the L2 cache while all tokens pass over them.
constexpr std::size_t kRowBlock = 64;
// Elements of a dot computed at a time: a tile's tokens stay in the L1 cache over a group of rows.
constexpr std::size_t kDepth = 512;
// How far ahead of a stream of weights to ask for memory, in bytes.
constexpr std::size_t kAhead = 4096;

// Weights in the mapped file: 32 of them as lanes.
template <class N, class Lanes, DType kStored>
struct StoredWeights {
  static constexpr std::size_t kSize = kStored == DType::kF32 ? 4 : 2;
  ASSAY_INLINE static Lanes load(const std::byte* w) {
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
};

// Keys in the cache: values as they are.
template <class N, class Lanes>
struct CachedRows {
  static constexpr std::size_t kSize = sizeof(typename N::Real);
  ASSAY_INLINE static Lanes load(const std::byte* x) {
    return Lanes::load(reinterpret_cast<const typename N::Real*>(x));
  }
};

// The last n < 32 elements of a row, padded with zeros.
template <class Lanes, class Rows>
ASSAY_INLINE Lanes load_row_tail(const std::byte* w, std::size_t n) {
  alignas(64) std::byte padded[kLanes * Rows::kSize] = {};
  std::memcpy(padded, w, n * Rows::kSize);
  return Rows::load(padded);
}

template <class Lanes, class Real>
ASSAY_INLINE Lanes load_tail(const Real* x, std::size_t n) {
  Real padded[kLanes] = {};
  std::memcpy(padded, x, n * sizeof(Real));
  return Lanes::load(padded);
}

// One row against kTokens tokens: out[t * ldo] = finish(dot). Reads weights as one stream.
template <class Lanes, class Rows, int kTokens, class Real, class Finish>
ASSAY_INLINE void stream_row(const Real* x, std::size_t ldx, const std::byte* w, std::size_t k,
                             Real* out, std::size_t ldo, const Finish& finish) {
  const std::size_t whole = k - k % kLanes;
  Lanes sum[kTokens];
  for (Lanes& lanes : sum) lanes = Lanes::zero();
  for (std::size_t i = 0; i < whole; i += kLanes) {
    __builtin_prefetch(w + i * Rows::kSize + kAhead);
    const Lanes weights = Rows::load(w + i * Rows::kSize);
    for (int t = 0; t < kTokens; ++t) {
      sum[t].fma(weights, Lanes::load(x + static_cast<std::size_t>(t) * ldx + i));
    }
  }
  if (whole != k) {
    const Lanes weights = load_row_tail<Lanes, Rows>(w + whole * Rows::kSize, k - whole);
    for (int t = 0; t < kTokens; ++t) {
      sum[t].fma(weights,
                 load_tail<Lanes>(x + static_cast<std::size_t>(t) * ldx + whole, k - whole));
    }
  }
  for (int t = 0; t < kTokens; ++t) out[static_cast<std::size_t>(t) * ldo] = finish(sum[t].sum());
}

// Elements [begin, end) of kRows x kTokens dots, whose lanes lie in sums[t * kGroup + r].
template <class Lanes, class Rows, int kRows, int kTokens, class Real>
ASSAY_INLINE void accumulate(const Real* x, std::size_t ldx, const std::byte* w,
                             std::size_t row_bytes, std::size_t begin, std::size_t end,
                             Lanes* sums) {
  Lanes sum[kRows][kTokens];
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kTokens; ++t) {
      sum[r][t] = begin == 0 ? Lanes::zero() : sums[static_cast<std::size_t>(t) * kGroup + r];
    }
  }
  for (std::size_t i = begin; i < end; i += kLanes) {
    Lanes weights[kRows];
    for (int r = 0; r < kRows; ++r) {
      weights[r] = Rows::load(w + static_cast<std::size_t>(r) * row_bytes + i * Rows::kSize);
    }
    for (int t = 0; t < kTokens; ++t) {
      const Lanes token = Lanes::load(x + static_cast<std::size_t>(t) * ldx + i);
      for (int r = 0; r < kRows; ++r) sum[r][t].fma(weights[r], token);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kTokens; ++t) sums[static_cast<std::size_t>(t) * kGroup + r] = sum[r][t];
  }
}

// At most kGroup rows against kTokens tokens: out[t * ldo + r] = finish(dot).
template <class Lanes, class Rows, int kTokens, class Real, class Finish>
void group_of_rows(const Real* x, std::size_t ldx, const std::byte* w, std::size_t rows,
                   std::size_t k, Real* out, std::size_t ldo, const Finish& finish) {
  constexpr auto kRows = static_cast<std::size_t>(Lanes::kRowTile);
  const std::size_t row_bytes = k * Rows::kSize;
  const std::size_t whole = k - k % kLanes;
  Lanes sums[kTokens * kGroup];
  std::size_t begin = 0;
  do {
    const std::size_t end = std::min(begin + kDepth, whole);
    std::size_t r = 0;
    for (; r + kRows <= rows; r += kRows) {
      accumulate<Lanes, Rows, Lanes::kRowTile, kTokens>(x, ldx, w + r * row_bytes, row_bytes, begin,
                                                        end, &sums[r]);
    }
    for (; r < rows; ++r) {
      accumulate<Lanes, Rows, 1, kTokens>(x, ldx, w + r * row_bytes, row_bytes, begin, end,
                                          &sums[r]);
    }
    begin = end;
  } while (begin < whole);
  if (whole != k) {
    for (std::size_t r = 0; r < rows; ++r) {
      const Lanes weights =
          load_row_tail<Lanes, Rows>(w + r * row_bytes + whole * Rows::kSize, k - whole);
      for (std::size_t t = 0; t < kTokens; ++t) {
        sums[t * kGroup + r].fma(weights, load_tail<Lanes>(x + t * ldx + whole, k - whole));
      }
    }
  }
  for (std::size_t t = 0; t < kTokens; ++t) {
    const Lanes* of_token = &sums[t * kGroup];
    Real* to = out + t * ldo;
    if constexpr (requires { Lanes::sums(of_token, to); }) {
      if (rows == kGroup) {
        Real dots[kGroup];
        Lanes::sums(of_token, dots);
        for (std::size_t r = 0; r < kGroup; ++r) to[r] = finish(dots[r]);
        continue;
      }
    }
    for (std::size_t r = 0; r < rows; ++r) to[r] = finish(of_token[r].sum());
  }
}

// Calls body.operator()<tokens>() for 1 <= tokens <= kMost.
template <int kMost, class Body>
ASSAY_INLINE void with_tokens(std::size_t tokens, const Body& body) {
  if constexpr (kMost > 1) {
    if (tokens < kMost) return with_tokens<kMost - 1>(tokens, body);
  }
  body.template operator()<kMost>();
}

// out[t * ldo + r] = finish(dot(x[t], w[r])) for all tokens and rows.
template <class Lanes, class Rows, class Real, class Finish>
ASSAY_INLINE void all_dots(const Real* x, std::size_t ldx, std::size_t tokens, const std::byte* w,
                           std::size_t rows, std::size_t k, Real* out, std::size_t ldo,
                           const Finish& finish) {
  constexpr auto kTile = static_cast<std::size_t>(Lanes::kTokenTile);
  const std::size_t row_bytes = k * Rows::kSize;
  // Few tokens are a memory stream, and a single row at a time reads fastest.
  if (tokens <= kTile) {
    with_tokens<Lanes::kTokenTile>(tokens, [&]<int kTokens>() {
      for (std::size_t r = 0; r < rows; ++r) {
        stream_row<Lanes, Rows, kTokens>(x, ldx, w + r * row_bytes, k, out + r, ldo, finish);
      }
    });
    return;
  }
  const std::size_t tiles = (tokens + kTile - 1) / kTile;
  for (std::size_t block = 0; block < rows; block += kRowBlock) {
    const std::size_t block_end = std::min(block + kRowBlock, rows);
    for (std::size_t tile = 0; tile < tiles; ++tile) {
      const std::size_t first = tokens * tile / tiles;
      with_tokens<Lanes::kTokenTile>(tokens * (tile + 1) / tiles - first, [&]<int kTokens>() {
        for (std::size_t r = block; r < block_end; r += kGroup) {
          group_of_rows<Lanes, Rows, kTokens>(x + first * ldx, ldx, w + r * row_bytes,
                                              std::min(kGroup, block_end - r), k,
                                              out + first * ldo + r, ldo, finish);
        }
      });
    }
  }
}

}  // namespace
}  // namespace assay
