// Dot products of many tokens with weights, both laid out for it. Included as kernels_impl.h is.
//
// The 32 lanes of a dot are added up independently until the tree, so a register's share of them, a
// Part, can be taken from one end of k to the other before the next: then a tile of dots needs one
// register a dot, and four rows by six tokens fit. Weights are widened once for all tokens and laid
// out in panels of kPartRows rows: [part][step of 32][row][lanes of the part]; tokens in tiles of
// the same form. Both are read from one end to the other.
#pragma once

#include "numerics/matmul_impl.h"

namespace assay {
namespace {

// Rows whose panels stay in the L2 cache while all tokens pass over them, in bytes.
constexpr std::size_t kPanelBytes = 384 << 10;
// Tokens that pass over them; more would not stay in the L3 cache.
constexpr std::size_t kPassTokens = 512;
// Rows over which a part of a tile's tokens stays in the L1 cache.
constexpr std::size_t kSweep = 48;

template <class Lanes>
struct Parts {
  using Part = typename Lanes::Part;
  static constexpr std::size_t kCount = sizeof(Lanes) / sizeof(Part);
  static constexpr std::size_t kWidth = kLanes / kCount;
  static constexpr auto kRows = static_cast<std::size_t>(Lanes::kPartRows);
  static constexpr auto kTokens = static_cast<std::size_t>(Lanes::kPartTokens);
};

constexpr std::size_t steps_of(std::size_t k) { return (k + kLanes - 1) / kLanes; }

// The tokens evenly over the tiles.
constexpr std::size_t first_of_tile(std::size_t tile, std::size_t tokens, std::size_t tiles) {
  return tokens * tile / tiles;
}

// Lanes of row `at` of a panel or tile of `rows`, at a step.
template <class Lanes, class Real>
ASSAY_INLINE void put(const Lanes& lanes, std::size_t step, std::size_t steps, std::size_t at,
                      std::size_t rows, Real* to) {
  using P = Parts<Lanes>;
  ASSAY_UNROLL
  for (std::size_t p = 0; p < P::kCount; ++p) {
    lanes.part(p).store(to + ((p * steps + step) * rows + at) * P::kWidth);
  }
}

template <class Lanes, class Real>
void pack_tile(const Real* x, std::size_t tokens, std::size_t k, std::size_t tile, Real* packed) {
  constexpr std::size_t kTile = Parts<Lanes>::kTokens;
  const std::size_t tiles = (tokens + kTile - 1) / kTile;
  const std::size_t first = first_of_tile(tile, tokens, tiles);
  const std::size_t count = first_of_tile(tile + 1, tokens, tiles) - first;
  const std::size_t steps = steps_of(k);
  Real* to = packed + first * steps * kLanes;
  for (std::size_t t = 0; t < count; ++t) {
    for (std::size_t s = 0; s < steps; ++s) {
      const Real* from = x + (first + t) * k + s * kLanes;
      const std::size_t left = k - s * kLanes;
      put(left >= kLanes ? Lanes::load(from) : load_tail<Lanes>(from, left), s, steps, t, count,
          to);
    }
  }
}

// `rows` rows of weights as panels, the last one filled up with zeros.
template <class Lanes, class Rows, class Real>
void pack_panels(const std::byte* w, std::size_t rows, std::size_t k, Real* to) {
  constexpr std::size_t kRows = Parts<Lanes>::kRows;
  const std::size_t steps = steps_of(k);
  for (std::size_t first = 0; first < rows; first += kRows) {
    for (std::size_t s = 0; s < steps; ++s) {
      const std::size_t left = k - s * kLanes;
      ASSAY_UNROLL
      for (std::size_t r = 0; r < kRows; ++r) {
        const std::byte* at = w + ((first + r) * k + s * kLanes) * Rows::kSize;
        __builtin_prefetch(at + kRows * k * Rows::kSize, 0, 2);
        if (first + r >= rows) {
          put(Lanes::zero(), s, steps, r, kRows, to);
        } else {
          put(left >= kLanes ? Rows::load(at) : load_row_tail<Lanes, Rows>(at, left), s, steps, r,
              kRows, to);
        }
      }
    }
    to += kRows * steps * kLanes;
  }
}

// One part of kRows x kTokens dots, over all of k.
template <class Lanes, int kTokens, class Real>
ASSAY_INLINE void part_of_dots(const Real* x, const Real* w, std::size_t steps,
                               typename Lanes::Part (&sum)[Lanes::kPartRows][kTokens]) {
  using P = Parts<Lanes>;
  using Part = typename P::Part;
  constexpr int kRows = Lanes::kPartRows;
  ASSAY_UNROLL
  for (auto& row : sum) {
    ASSAY_UNROLL
    for (Part& part : row) part = Part::zero();
  }
  // What there is less of stays in registers; the other passes by.
  for (std::size_t s = 0; s < steps; ++s) {
    if constexpr (kTokens < kRows) {
      Part token[kTokens];
      ASSAY_UNROLL
      for (int t = 0; t < kTokens; ++t) token[t] = Part::load(x + t * static_cast<int>(P::kWidth));
      ASSAY_UNROLL
      for (int r = 0; r < kRows; ++r) {
        const Part weights = Part::load(w + r * static_cast<int>(P::kWidth));
        ASSAY_UNROLL
        for (int t = 0; t < kTokens; ++t) sum[r][t].fma(weights, token[t]);
      }
    } else {
      Part weights[kRows];
      ASSAY_UNROLL
      for (int r = 0; r < kRows; ++r) weights[r] = Part::load(w + r * static_cast<int>(P::kWidth));
      ASSAY_UNROLL
      for (int t = 0; t < kTokens; ++t) {
        Part token = Part::load(x + t * static_cast<int>(P::kWidth));
        if constexpr (requires { token.keep(); }) token.keep();
        ASSAY_UNROLL
        for (int r = 0; r < kRows; ++r) sum[r][t].fma(weights[r], token);
      }
    }
    x += static_cast<std::size_t>(kTokens) * P::kWidth;
    w += P::kRows * P::kWidth;
  }
}

// Panels of up to kSweep rows against a tile of kTokens tokens.
template <class Lanes, int kTokens, class Real, class Finish>
void sweep(const Real* x, const Real* panels, std::size_t rows, std::size_t steps, Real* out,
           std::size_t ldo, const Finish& finish) {
  using P = Parts<Lanes>;
  constexpr auto kTile = static_cast<std::size_t>(kTokens);
  // [group of rows][token][row][half of the lanes]
  alignas(64) Real done[kSweep * kTile * kHalf];
  for (std::size_t p = 0; p < P::kCount; ++p) {
    for (std::size_t first = 0; first < rows; first += P::kRows) {
      typename P::Part sum[P::kRows][kTile];
      part_of_dots<Lanes, kTokens>(x + p * steps * kTile * P::kWidth,
                                   panels + (first * P::kCount + p * P::kRows) * steps * P::kWidth,
                                   steps, sum);
      Real* to = done + first / kGroup * kGroup * kTile * kHalf;
      // The tree's first step is taken here: lane l with l + 16.
      const bool lower = p < P::kCount / 2;
      const std::size_t lane = (lower ? p : p - P::kCount / 2) * P::kWidth;
      ASSAY_UNROLL
      for (std::size_t r = 0; r < P::kRows; ++r) {
        ASSAY_UNROLL
        for (std::size_t t = 0; t < kTile; ++t) {
          Real* at = to + (t * kGroup + first % kGroup + r) * kHalf + lane;
          if (lower) {
            sum[r][t].store(at);
          } else {
            typename P::Part low = P::Part::load(at);
            low.add(sum[r][t]);
            low.store(at);
          }
        }
      }
    }
  }
  for (std::size_t first = 0; first < rows; first += kGroup) {
    const std::size_t count = std::min(kGroup, rows - first);
    for (std::size_t t = 0; t < kTile; ++t) {
      const Real* halved = done + (first * kTile + t * kGroup) * kHalf;
      Real* to = out + t * ldo + first;
      if (count == kGroup) {
        Real dots[kGroup];
        sums_of<Lanes>(halved, dots);
        for (std::size_t r = 0; r < kGroup; ++r) to[r] = finish(dots[r], first + r);
      } else {
        for (std::size_t r = 0; r < count; ++r)
          to[r] = finish(Lanes::sum(halved + r * kHalf), first + r);
      }
    }
  }
}

// Kernels::packed_matmul.
template <class N, class Lanes, class Real>
ASSAY_INLINE void packed_weights_dots(const Real* packed, std::size_t tokens, const Weight& w,
                                      const Real* bias, std::size_t row_begin, std::size_t row_end,
                                      Real* out, std::size_t ldo) {
  using P = Parts<Lanes>;
  static_assert(kGroup % P::kRows == 0 && kSweep % kGroup == 0);
  const std::size_t steps = steps_of(w.cols);
  const std::size_t row_reals = steps * kLanes;
  const std::size_t tiles = (tokens + P::kTokens - 1) / P::kTokens;
  const std::size_t pass_tiles = kPassTokens / P::kTokens;
  const std::size_t block_rows =
      std::max(kSweep, kPanelBytes / (row_reals * sizeof(Real)) / kSweep * kSweep);
  auto* panels = reinterpret_cast<Real*>(kernel_scratch(block_rows * row_reals * sizeof(Real)));
  for (std::size_t pass = 0; pass < tiles; pass += pass_tiles) {
    const std::size_t pass_end = std::min(pass + pass_tiles, tiles);
    for (std::size_t block = row_begin; block < row_end; block += block_rows) {
      const std::size_t block_end = std::min(block + block_rows, row_end);
      with_stored(w.dtype, [&]<DType kStored>() {
        using Rows = StoredWeights<N, Lanes, kStored>;
        pack_panels<Lanes, Rows>(w.data + block * w.cols * Rows::kSize, block_end - block, w.cols,
                                 panels);
      });
      for (std::size_t tile = pass; tile < pass_end; ++tile) {
        const std::size_t first = first_of_tile(tile, tokens, tiles);
        const std::size_t count = first_of_tile(tile + 1, tokens, tiles) - first;
        with_tokens<Lanes::kPartTokens>(count, [&]<int kTokens>() {
          for (std::size_t row = block; row < block_end; row += kSweep) {
            sweep<Lanes, kTokens>(packed + first * row_reals, panels + (row - block) * row_reals,
                                  std::min(kSweep, block_end - row), steps, out + first * ldo + row,
                                  ldo, [=](Real dot, std::size_t r) {
                                    return N::round(bias != nullptr ? dot + bias[row + r] : dot);
                                  });
          }
        });
      }
    }
  }
}

}  // namespace
}  // namespace assay
