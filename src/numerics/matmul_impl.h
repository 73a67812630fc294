// Dot products of a few activations with weights, read in place. Which dots share a tile, and where
// a long one is interrupted and resumed, does not change the order within a dot. Included like
// kernels_impl.h.
//
// A Lanes type has sixteen sums. Its Pairs are a block of a row in the form that it needs: 16 pairs
// of elements.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>

#include "numerics/fp8_impl.h"
#include "numerics/kernels.h"
#include "numerics/mxfp4_impl.h"

namespace assay {
namespace {

constexpr std::size_t kLanes = 16;
// Elements of a row that all lanes take together.
constexpr std::size_t kBlock = 2 * kLanes;
// Number of rows whose dots are computed together.
constexpr std::size_t kGroup = 16;
// Bytes of the rows that stay in the L2 cache while all tokens are multiplied with them.
constexpr std::size_t kBlockBytes = 256 << 10;
// Bytes of a tile's tokens that are used at a time: they stay in the L1 cache over a group of rows.
constexpr std::size_t kDepthBytes = 24 << 10;
// Up to this many tokens, reading one row at a time is fastest.
constexpr int kTokensOfARow = 4;
// How far ahead in a stream of weights to prefetch, in bytes.
constexpr std::size_t kAhead = 12288;

constexpr std::size_t blocks_of(std::size_t k) { return (k + kBlock - 1) / kBlock; }

// out[i] = dot_tree(lanes + kLanes * i) for a group of dots.
template <class Lanes, class Real>
ASSAY_INLINE void trees_of(const Real* lanes, Real* out) {
  if constexpr (requires { Lanes::dot_trees(lanes, out); }) {
    Lanes::dot_trees(lanes, out);
  } else {
    for (std::size_t i = 0; i < kGroup; ++i) out[i] = Lanes::dot_tree(lanes + kLanes * i);
  }
}

// The last n < kBlock elements of a row, padded with zeros.
template <class Pairs, class Rows>
ASSAY_INLINE Pairs load_row_tail(const std::byte* w, std::size_t n) {
  alignas(64) std::byte padded[kBlock * Rows::kSize] = {};
  std::memcpy(padded, w, n * Rows::kSize);
  return Rows::load(padded);
}

// Rows in the mapped file, from one of them on.
template <class N, class Pairs, DType kStored>
struct StoredWeights {
  static constexpr std::size_t kSize = kStored == DType::kF32 ? 4 : 2;
  static constexpr bool kUnpacks = false;
  static constexpr std::size_t kPrefetched = 1;  // blocks at a time

  const std::byte* data;
  std::size_t row_bytes;

  ASSAY_INLINE StoredWeights from_row(std::size_t r) const {
    return {data + r * row_bytes, row_bytes};
  }
  // Block i of the first row.
  ASSAY_INLINE Pairs block(std::size_t i) const { return load(data + i * kBlock * kSize); }
  // The first row's last n < kBlock elements, which are in block i, padded with zeros.
  ASSAY_INLINE Pairs tail(std::size_t i, std::size_t n) const {
    return load_row_tail<Pairs, StoredWeights>(data + i * kBlock * kSize, n);
  }
  ASSAY_INLINE void prefetch(std::size_t i, std::size_t ahead) const {
    __builtin_prefetch(data + i * kBlock * kSize + ahead, 0, 3);
  }
  ASSAY_INLINE static Pairs load(const std::byte* w) {
    if constexpr (kStored == DType::kBF16) {
      return Pairs::load_bf16(w);
    } else if constexpr (kStored == DType::kF16) {
      if constexpr (N::kRoundsWeights) {
        return Pairs::rounded_to_bf16(Pairs::load_f16(w));
      } else {
        return Pairs::load_f16(w);
      }
    } else {
      if constexpr (N::kRoundsWeights) {
        return Pairs::rounded_to_bf16(Pairs::load_f32(w));
      } else {
        return Pairs::load_f32(w);
      }
    }
  }
};

// The same of rows in MXFP4, whose elements are widened in registers.
template <class Pairs>
struct Mxfp4Weights {
  static_assert(kBlock == kMxfp4Block);
  static constexpr bool kUnpacks = true;
  static constexpr std::size_t kPrefetched = 64 / kMxfp4Bytes;

  const std::byte* data;
  const std::byte* scales;
  std::size_t row_bytes, scale_bytes;  // from each row to the next

  ASSAY_INLINE Mxfp4Weights from_row(std::size_t r) const {
    return {data + r * row_bytes, scales + r * scale_bytes, row_bytes, scale_bytes};
  }
  ASSAY_INLINE Pairs block(std::size_t i) const {
    alignas(64) std::uint16_t words[kBlock];
    widen_mxfp4(data + i * kMxfp4Bytes, static_cast<std::size_t>(scales[i]), words);
    return Pairs::load_bf16(reinterpret_cast<const std::byte*>(words));
  }
  // Rows are whole blocks.
  ASSAY_INLINE Pairs tail(std::size_t, std::size_t) const { return Pairs::zero(); }
  ASSAY_INLINE void prefetch(std::size_t i, std::size_t ahead) const {
    __builtin_prefetch(data + i * kMxfp4Bytes + ahead, 0, 3);
  }
};

// The same of rows in FP8.
template <class N, class Pairs>
struct Fp8Weights {
  static_assert(kBlock == kFp8Block);
  static constexpr bool kUnpacks = true;
  static constexpr std::size_t kPrefetched = 64 / kFp8Block;

  const std::byte* data;
  std::size_t row_bytes;
  std::size_t first_row;
  const BlockScales* scales;
  unsigned shift;              // a scale is for 2^shift blocks of a row
  const float* own = nullptr;  // scales of the first row

  // Whether blocks of these rows have one scale each, and products no subnormals: the kernel's mode
  // may flush them before they are rounded.
  ASSAY_INLINE static bool fit(const Weight& w) {
    const BlockScales& of = *w.block_scales;
    const bool whole = of.cols >= w.cols;
    return of.moderate && (whole || (of.cols % kBlock == 0 && std::has_single_bit(of.cols)));
  }
  ASSAY_INLINE static Fp8Weights of(const Weight& w) {
    const BlockScales& of = *w.block_scales;
    const unsigned shift =
        of.cols >= w.cols ? 63u : static_cast<unsigned>(std::countr_zero(of.cols / kBlock));
    return {w.data, w.row_bytes(), w.first_row, &of, shift};
  }
  ASSAY_INLINE Fp8Weights from_row(std::size_t r) const {
    Fp8Weights rows = *this;
    rows.data += r * row_bytes;
    rows.first_row += r;
    rows.own = &scales->values[rows.first_row / scales->rows * scales->per_row];
    return rows;
  }
  ASSAY_INLINE Pairs block(std::size_t i) const { return widened(data + i * kFp8Block, i); }
  ASSAY_INLINE Pairs tail(std::size_t i, std::size_t n) const {
    std::byte padded[kFp8Block] = {};
    std::memcpy(padded, data + i * kFp8Block, n);
    return widened(padded, i);
  }
  ASSAY_INLINE void prefetch(std::size_t i, std::size_t ahead) const {
    __builtin_prefetch(data + i * kFp8Block + ahead, 0, 3);
  }

 private:
  ASSAY_INLINE Pairs widened(const std::byte* elements, std::size_t i) const {
    alignas(64) float values[kBlock];
    widen_fp8(elements, own[i >> shift], values);
    const auto products = Pairs::load_f32(reinterpret_cast<const std::byte*>(values));
    if constexpr (!N::kRoundsWeights) {
      return products;
    } else if constexpr (requires { Pairs::normal_to_bf16(products); }) {
      return Pairs::normal_to_bf16(products);
    } else {
      return Pairs::rounded_to_bf16(products);
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

// The block of n elements of x that begins with element i.
template <class Pairs, class Real>
ASSAY_INLINE Pairs block_of(const Real* x, std::size_t i, std::size_t n) {
  if (i + kBlock <= n) return Pairs::load(x + i);
  Real padded[kBlock] = {};
  std::memcpy(padded, x + i, (n - i) * sizeof(Real));
  return Pairs::load(padded);
}

// Packs tokens in the order in which tiles read them: block i of token t is at [i * tokens + t].
// Unpacked, a power of two apart, they would evict each other from the cache.
template <class Pairs, class Real>
void pack(const Real* x, std::size_t ldx, std::size_t tokens, std::size_t k, Pairs* to) {
  for (std::size_t i = 0; i < k; i += kBlock) {
    for (std::size_t t = 0; t < tokens; ++t) *to++ = block_of<Pairs>(x + t * ldx, i, k);
  }
}

// Blocks [begin, end) of kRows x kTokens dots. If begin > 0, the earlier sums are in
// sums[t * kGroup + r]; the result goes there.
template <class Lanes, class Rows, int kRows, int kTokens, bool kStream>
ASSAY_INLINE void accumulate(const typename Lanes::Pairs* x, const Rows& w, std::size_t k,
                             std::size_t begin, std::size_t end, std::size_t ahead, Lanes* sums) {
  using Pairs = typename Lanes::Pairs;
  const std::size_t whole = std::min(end, k / kBlock);
  Lanes sum[kRows][kTokens];
  ASSAY_UNROLL
  for (int r = 0; r < kRows; ++r) {
    ASSAY_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      sum[r][t] = begin == 0 ? Lanes::zero() : sums[static_cast<std::size_t>(t) * kGroup + r];
    }
  }
  Rows row[kRows];
  ASSAY_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) row[r] = w.from_row(r);
  const auto add = [&](std::size_t i, const auto& block_of_row) {
    Pairs weights[kRows];
    ASSAY_UNROLL
    for (int r = 0; r < kRows; ++r) weights[r] = block_of_row(row[r]);
    ASSAY_UNROLL
    for (int t = 0; t < kTokens; ++t) {
      Pairs token = x[i * kTokens + static_cast<std::size_t>(t)];
      if constexpr (kRows > 1 && requires { token.keep(); }) token.keep();
      ASSAY_UNROLL
      for (int r = 0; r < kRows; ++r) sum[r][t].dot(weights[r], token);
    }
  };
  std::size_t i = begin;
  for (; i + Rows::kPrefetched <= whole; i += Rows::kPrefetched) {
    if constexpr (kStream) {
      ASSAY_UNROLL
      for (const Rows& r : row) r.prefetch(i, kRows > 1 ? ahead : ahead / 2);
    }
    ASSAY_UNROLL
    for (std::size_t n = 0; n < Rows::kPrefetched; ++n) {
      add(i + n, [&](const Rows& r) { return r.block(i + n); });
    }
  }
  for (; i < whole; ++i) add(i, [&](const Rows& r) { return r.block(i); });
  if (whole < end) add(whole, [&](const Rows& r) { return r.tail(whole, k % kBlock); });
  ASSAY_UNROLL
  for (int r = 0; r < kRows; ++r) {
    ASSAY_UNROLL
    for (int t = 0; t < kTokens; ++t) sums[static_cast<std::size_t>(t) * kGroup + r] = sum[r][t];
  }
}

// At most kGroup rows against kTokens tokens: out[t * ldo + r] = finish(dot, first + r).
template <class Lanes, class Rows, int kRows, int kTokens, bool kStream, class Real, class Finish>
void group_of_rows(const typename Lanes::Pairs* x, const Rows& w, std::size_t first,
                   std::size_t rows, std::size_t k, Real* out, std::size_t ldo,
                   const Finish& finish) {
  const std::size_t all = blocks_of(k);
  alignas(64) Lanes sums[kTokens * kGroup];
  constexpr std::size_t kDepth = kDepthBytes / (kTokens * sizeof(typename Lanes::Pairs));
  // A stream is prefetched; in pieces, a whole group ahead.
  const std::size_t ahead =
      all <= kDepth ? Rows::kUnpacks ? kRows * w.row_bytes : kAhead : kGroup * w.row_bytes;
  for (std::size_t begin = 0; begin < all; begin += kDepth) {
    const std::size_t end = std::min(begin + kDepth, all);
    std::size_t r = 0;
    for (; r + kRows <= rows; r += kRows) {
      accumulate<Lanes, Rows, kRows, kTokens, kStream>(x, w.from_row(r), k, begin, end, ahead,
                                                       &sums[r]);
    }
    for (; r < rows; ++r) {
      accumulate<Lanes, Rows, 1, kTokens, kStream>(x, w.from_row(r), k, begin, end, ahead,
                                                   &sums[r]);
    }
  }
  for (std::size_t t = 0; t < kTokens; ++t) {
    Real dots[kGroup];
    const auto* lanes = reinterpret_cast<const Real*>(&sums[t * kGroup]);
    if (rows == kGroup) {
      trees_of<Lanes>(lanes, dots);
    } else {
      for (std::size_t r = 0; r < rows; ++r) dots[r] = Lanes::dot_tree(lanes + r * kLanes);
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

// out[t * ldo + r] = finish(dot(x[t], w[r]), r). kCached: the rows are in the CPU's cache, so that
// several at a time are faster than one stream.
template <class Lanes, class Rows, bool kCached, class Real, class Finish>
void all_dots(const Real* x, std::size_t ldx, std::size_t tokens, const Rows& w, std::size_t rows,
              std::size_t k, Real* out, std::size_t ldo, const Finish& finish) {
  using Pairs = typename Lanes::Pairs;
  constexpr auto kTile = static_cast<std::size_t>(Lanes::kTokenTile);
  const std::size_t depth = blocks_of(k);
  auto* packed = reinterpret_cast<Pairs*>(kernel_scratch(tokens * depth * sizeof(Pairs)));
  // Distributes the tokens evenly over the tiles. Few tokens are a single tile: then the rows are
  // one stream.
  const std::size_t tiles = (tokens + kTile - 1) / kTile;
  const auto first_of = [&](std::size_t tile) { return tokens * tile / tiles; };
  for (std::size_t tile = 0; tile < tiles; ++tile) {
    const std::size_t first = first_of(tile);
    pack<Pairs>(x + first * ldx, ldx, first_of(tile + 1) - first, k, packed + first * depth);
  }
  const std::size_t block_rows =
      tiles == 1 ? rows : std::max(kGroup, kBlockBytes / w.row_bytes / kGroup * kGroup);
  for (std::size_t block = 0; block < rows; block += block_rows) {
    const std::size_t block_end = std::min(block + block_rows, rows);
    for (std::size_t tile = 0; tile < tiles; ++tile) {
      const std::size_t first = first_of(tile);
      with_tokens<Lanes::kTokenTile>(first_of(tile + 1) - first, [&]<int kTokens>() {
        const auto groups = [&]<int kRows, bool kStream>() {
          for (std::size_t r = block; r < block_end; r += kGroup) {
            group_of_rows<Lanes, Rows, kRows, kTokens, kStream>(
                packed + first * depth, w.from_row(r), r, std::min(kGroup, block_end - r), k,
                out + first * ldo + r, ldo, finish);
          }
        };
        // Several rows share the loaded tokens.
        if constexpr (Rows::kUnpacks) {
          // A single token's dots are chains of multiply-adds: several at a time hide their
          // latency.
          groups.template operator()<(kTokens == 1 ? 4 : Lanes::kRowTile), true>();
        } else if (kCached || tile > 0) {
          groups.template operator()<Lanes::kRowTile, false>();
        } else {
          groups.template operator()<(kTokens > kTokensOfARow ? Lanes::kRowTile : 1), true>();
        }
      });
    }
  }
}

// Turns a dot into an element of the result.
template <class N, class Lanes, class Real>
ASSAY_INLINE Real finished(Real dot, const Real* bias, std::size_t row) {
  return N::round(bias != nullptr ? Lanes::dot_add(dot, bias[row]) : dot);
}

// Kernels::matmul.
template <class N, class Lanes, bool kCached, class Real>
ASSAY_INLINE void weights_dots(const Real* x, std::size_t tokens, const Weight& w, const Real* bias,
                               std::size_t row_begin, std::size_t row_end, Real* out,
                               std::size_t ldo) {
  const Weight part = w.from_row(row_begin, row_end - row_begin);
  const auto dots = [&]<class Rows>(const Rows& rows) {
    all_dots<Lanes, Rows, kCached>(
        x, w.cols, tokens, rows, part.rows, w.cols, out + row_begin, ldo,
        [=](Real dot, std::size_t r) { return finished<N, Lanes>(dot, bias, row_begin + r); });
  };
  if (w.is_mxfp4()) {
    using Rows = Mxfp4Weights<typename Lanes::Pairs>;
    return dots(
        Rows{part.data, part.scales, w.row_step * w.row_bytes(), w.row_step * w.scale_bytes()});
  }
  if (w.is_fp8()) return dots(Fp8Weights<N, typename Lanes::Pairs>::of(part));
  with_stored(w.dtype, [&]<DType kStored>() {
    dots(StoredWeights<N, typename Lanes::Pairs, kStored>{part.data, w.row_bytes()});
  });
}

}  // namespace
}  // namespace assay
