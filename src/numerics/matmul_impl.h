// Dot products in tiles, straight from where the rows lie: of a few activations with weights, and
// of queries with keys. Which dots share a tile, and where a long one is set down and taken up
// again, does not touch the order within a dot. Included as kernels_impl.h is.
//
// A Lanes type adds up 32 products at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "numerics/kernels.h"

namespace assay {
namespace {

constexpr std::size_t kLanes = 32;
// Rows whose dots are summed up together, and what is kept of a dot until then: half of its lanes.
constexpr std::size_t kGroup = 16;
constexpr std::size_t kHalf = kLanes / 2;
// Rows that stay in the L2 cache while all tokens pass over them, in bytes.
constexpr std::size_t kBlockBytes = 256 << 10;
// Of a tile's tokens, in bytes, what is taken at a time: it stays in the L1 cache over a group of
// rows.
constexpr std::size_t kDepthBytes = 24 << 10;
// How far ahead of a stream of weights to ask for memory, in bytes.
constexpr std::size_t kAhead = 8192;

// The tree over all lanes.
template <class Lanes>
ASSAY_INLINE auto sum_of(const Lanes& lanes) {
  decltype(Lanes::sum(nullptr)) halved[kHalf];
  lanes.halve(halved);
  return Lanes::sum(halved);
}

// out[i] = Lanes::sum(halved + kHalf * i) for a group of dots.
template <class Lanes, class Real>
ASSAY_INLINE void sums_of(const Real* halved, Real* out) {
  if constexpr (requires { Lanes::sums(halved, out); }) {
    Lanes::sums(halved, out);
  } else {
    for (std::size_t i = 0; i < kGroup; ++i) out[i] = Lanes::sum(halved + kHalf * i);
  }
}

// Weights in the mapped file: 32 of them as lanes.
template <class N, class Lanes, DType kStored>
struct StoredWeights {
  static constexpr std::size_t kSize = kStored == DType::kF32 ? 4 : 2;
  ASSAY_INLINE static Lanes load(const std::byte* w) {
    if constexpr (kStored == DType::kBF16) {
      return Lanes::load_bf16(w);
    } else if constexpr (kStored == DType::kF16) {
      if constexpr (N::kRoundsWeights) {
        return Lanes::rounded_to_bf16(Lanes::load_f16(w));
      } else {
        return Lanes::load_f16(w);
      }
    } else {
      if constexpr (N::kRoundsWeights) {
        return Lanes::rounded_to_bf16(Lanes::load_f32(w));
      } else {
        return Lanes::load_f32(w);
      }
    }
  }
};

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

// Keys and values in the cache.
template <class N, class Lanes>
struct CachedRows {
  using Cached = typename N::Cached;
  static constexpr std::size_t kSize = sizeof(Cached);
  ASSAY_INLINE static Lanes load(const std::byte* x) {
    if constexpr (kSize == 2) {
      return Lanes::load_bf16(x);
    } else {
      return Lanes::load(reinterpret_cast<const Cached*>(x));
    }
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

// Tokens side by side, as the tiles read them: lanes i of token t at [i * tokens + t], the last
// ones padded with zeros. As they lie in memory, a power of two apart, they would push each other
// out of the cache.
template <class Lanes, class Real>
void pack(const Real* x, std::size_t ldx, std::size_t tokens, std::size_t k, Lanes* to) {
  for (std::size_t i = 0; i < k; i += kLanes) {
    for (std::size_t t = 0; t < tokens; ++t) {
      const Real* from = x + t * ldx + i;
      *to++ = i + kLanes <= k ? Lanes::load(from) : load_tail<Lanes>(from, k - i);
    }
  }
}

// Lanes [begin, end) of kRows x kTokens dots. What was added up before lies in sums[t * kGroup +
// r], where begin > 0; the result goes there, or halved to `done` where k ends.
template <class Lanes, class Rows, int kRows, int kTokens, bool kStream, class Real>
ASSAY_INLINE void accumulate(const Lanes* x, const std::byte* w, std::size_t k, std::size_t begin,
                             std::size_t end, std::size_t ahead, Lanes* sums, Real* done) {
  const std::size_t row_bytes = k * Rows::kSize;
  const std::size_t whole = std::min(end, k / kLanes);
  Lanes sum[kRows][kTokens];
  ASSAY_UNROLL
  for (int r = 0; r < kRows; ++r) {
    ASSAY_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      sum[r][t] = begin == 0 ? Lanes::zero() : sums[static_cast<std::size_t>(t) * kGroup + r];
    }
  }
  const auto add = [&](std::size_t i, const Lanes(&weights)[kRows]) {
    ASSAY_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      Lanes token = x[i * kTokens + static_cast<std::size_t>(t)];
      if constexpr (kRows > 1 && requires { token.keep(); }) token.keep();
      ASSAY_UNROLL
      for (int r = 0; r < kRows; ++r) sum[r][t].fma(weights[r], token);
    }
  };
  for (std::size_t i = begin; i < whole; ++i) {
    Lanes weights[kRows];
    ASSAY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const std::byte* at = w + static_cast<std::size_t>(r) * row_bytes + i * kLanes * Rows::kSize;
      // Where several tokens need all of L1, into L2.
      if constexpr (kStream && kRows > 1) __builtin_prefetch(at + ahead, 0, 2);
      if constexpr (kStream && kRows == 1) __builtin_prefetch(at + ahead / 2, 0, 3);
      weights[r] = Rows::load(at);
    }
    add(i, weights);
  }
  if (whole < end) {
    Lanes weights[kRows];
    ASSAY_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const std::byte* row = w + static_cast<std::size_t>(r) * row_bytes;
      weights[r] = load_row_tail<Lanes, Rows>(row + whole * kLanes * Rows::kSize, k % kLanes);
    }
    add(whole, weights);
  }
  const bool last = end * kLanes >= k;
  ASSAY_UNROLL
  for (int r = 0; r < kRows; ++r) {
    ASSAY_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      const std::size_t at = static_cast<std::size_t>(t) * kGroup + static_cast<std::size_t>(r);
      if (last) {
        sum[r][t].halve(done + at * kHalf);
      } else {
        sums[at] = sum[r][t];
      }
    }
  }
}

// At most kGroup rows against kTokens tokens: out[t * ldo + r] = finish(dot, first + r).
template <class Lanes, class Rows, int kRows, int kTokens, bool kStream, class Real, class Finish>
void group_of_rows(const Lanes* x, const std::byte* w, std::size_t first, std::size_t rows,
                   std::size_t k, Real* out, std::size_t ldo, const Finish& finish) {
  const std::size_t row_bytes = k * Rows::kSize;
  const std::size_t all = (k + kLanes - 1) / kLanes;
  Lanes sums[kTokens * kGroup];
  alignas(64) Real done[kTokens * kGroup * kHalf];
  constexpr std::size_t kDepth = kDepthBytes / (kTokens * sizeof(Lanes));
  // A stream is asked for ahead; in pieces, a whole group ahead.
  const std::size_t ahead = all <= kDepth ? kAhead : kGroup * row_bytes;
  for (std::size_t begin = 0; begin < all; begin += kDepth) {
    const std::size_t end = std::min(begin + kDepth, all);
    std::size_t r = 0;
    for (; r + kRows <= rows; r += kRows) {
      accumulate<Lanes, Rows, kRows, kTokens, kStream>(x, w + r * row_bytes, k, begin, end, ahead,
                                                       &sums[r], &done[r * kHalf]);
    }
    for (; r < rows; ++r) {
      accumulate<Lanes, Rows, 1, kTokens, kStream>(x, w + r * row_bytes, k, begin, end, ahead,
                                                   &sums[r], &done[r * kHalf]);
    }
  }
  for (std::size_t t = 0; t < kTokens; ++t) {
    Real dots[kGroup];
    if (rows == kGroup) {
      sums_of<Lanes>(&done[t * kGroup * kHalf], dots);
    } else {
      for (std::size_t r = 0; r < rows; ++r) dots[r] = Lanes::sum(&done[(t * kGroup + r) * kHalf]);
    }
    Real* to = out + t * ldo;
    for (std::size_t r = 0; r < rows; ++r) to[r] = finish(dots[r], first + r);
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

// out[t * ldo + r] = finish(dot(x[t], w[r]), r).
template <class Lanes, class Rows, class Real, class Finish>
void all_dots(const Real* x, std::size_t ldx, std::size_t tokens, const std::byte* w,
              std::size_t rows, std::size_t k, Real* out, std::size_t ldo, const Finish& finish) {
  constexpr auto kTile = static_cast<std::size_t>(Lanes::kTokenTile);
  const std::size_t row_bytes = k * Rows::kSize;
  const std::size_t depth = (k + kLanes - 1) / kLanes;
  auto* packed = reinterpret_cast<Lanes*>(kernel_scratch(tokens * depth * sizeof(Lanes)));
  // The tokens evenly over the tiles. Few of them are a single one: the rows are one stream then.
  const std::size_t tiles = (tokens + kTile - 1) / kTile;
  const auto first_of = [&](std::size_t tile) { return tokens * tile / tiles; };
  for (std::size_t tile = 0; tile < tiles; ++tile) {
    const std::size_t first = first_of(tile);
    pack<Lanes>(x + first * ldx, ldx, first_of(tile + 1) - first, k, packed + first * depth);
  }
  const std::size_t block_rows =
      tiles == 1 ? rows : std::max(kGroup, kBlockBytes / row_bytes / kGroup * kGroup);
  for (std::size_t block = 0; block < rows; block += block_rows) {
    const std::size_t block_end = std::min(block + block_rows, rows);
    for (std::size_t tile = 0; tile < tiles; ++tile) {
      const std::size_t first = first_of(tile);
      with_tokens<Lanes::kTokenTile>(first_of(tile + 1) - first, [&]<int kTokens>() {
        const auto groups = [&]<int kRows, bool kStream>() {
          for (std::size_t r = block; r < block_end; r += kGroup) {
            group_of_rows<Lanes, Rows, kRows, kTokens, kStream>(
                packed + first * depth, w + r * row_bytes, r, std::min(kGroup, block_end - r), k,
                out + first * ldo + r, ldo, finish);
          }
        };
        // One row at a time is read fastest; two share what is loaded of the tokens.
        if (tile > 0) {
          groups.template operator()<Lanes::kRowTile, false>();
        } else {
          groups.template operator()<(kTokens > 2 ? Lanes::kRowTile : 1), true>();
        }
      });
    }
  }
}

// The lanes that few tokens are multiplied in: for BF16 weights an instruction set may have a
// cheaper arrangement of them.
template <class Lanes, DType kStored>
struct LanesFor {
  using Type = Lanes;
};
template <class Lanes>
requires requires { typename Lanes::ForBf16; }
struct LanesFor<Lanes, DType::kBF16> {
  using Type = typename Lanes::ForBf16;
};

// Kernels::matmul.
template <class N, class Lanes, class Real>
ASSAY_INLINE void weights_dots(const Real* x, std::size_t tokens, const Weight& w, const Real* bias,
                               std::size_t row_begin, std::size_t row_end, Real* out,
                               std::size_t ldo) {
  with_stored(w.dtype, [&]<DType kStored>() {
    using Few = typename LanesFor<Lanes, kStored>::Type;
    using Rows = StoredWeights<N, Few, kStored>;
    all_dots<Few, Rows>(x, w.cols, tokens, w.data + row_begin * w.cols * Rows::kSize,
                        row_end - row_begin, w.cols, out + row_begin, ldo,
                        [=](Real dot, std::size_t r) {
                          return N::round(bias != nullptr ? dot + bias[row_begin + r] : dot);
                        });
  });
}

}  // namespace
}  // namespace assay
