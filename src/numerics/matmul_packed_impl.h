// Dot products of many tokens with weights, both in a packed layout. Included like kernels_impl.h.
//
// The lanes of a dot are summed independently until the tree, so one register of lanes, a Part, can
// be summed over all of k before the next one. Then a tile of dots needs one register per dot, and
// four rows by six tokens fit. Weights are widened (or copied) once for all tokens and packed into
// panels of kPartRows rows: [part][step][row][lanes of the part], where a step is the elements of
// one multiply-add. Tokens are packed into tiles of the same form. Rows that can be operands in
// place (BF16 for the dot instruction) are panels with a different stride, and nothing is copied.
#pragma once

#include <type_traits>

#include "numerics/matmul_impl.h"

namespace assay {
namespace {

// Bytes of the panels that stay in the L2 cache while all tokens are multiplied with them.
constexpr std::size_t kPanelBytes = 384 << 10;
// Number of these tokens; more would not stay in the L3 cache.
constexpr std::size_t kPassTokens = 512;
// Number of rows over which a part of a tile's tokens stays in the L1 cache.
constexpr std::size_t kSweep = 48;
// How far ahead of the dots to prefetch weights, in steps.
constexpr std::size_t kStepsAhead = 16;

template <class Lanes>
struct Parts {
  using Part = typename Lanes::Part;
  using Operand = typename Part::Operand;
  using Stored = typename Lanes::Pairs::Stored;
  static constexpr std::size_t kCount = sizeof(Lanes) / sizeof(Part);
  static constexpr std::size_t kWidth = kLanes / kCount;  // sums, and Stored values of an operand
  static constexpr std::size_t kSteps = Lanes::Pairs::kSteps;  // of a block
  static constexpr auto kRows = static_cast<std::size_t>(Lanes::kPartRows);
  static constexpr auto kTokens = static_cast<std::size_t>(Lanes::kPartTokens);
  // Elements per row or token.
  static constexpr std::size_t stored(std::size_t k) { return blocks_of(k) * kSteps * kLanes; }
  // If one register holds all lanes of a dot, trees begin in registers, for four rows at once.
  static constexpr bool kQuarters = kCount == 1 && kRows == 4 && requires(Lanes lanes) {
    Lanes::quarter(lanes.v, lanes.v, lanes.v, lanes.v);
  };
};

// Distributes the tokens evenly over the tiles.
constexpr std::size_t first_of_tile(std::size_t tile, std::size_t tokens, std::size_t tiles) {
  return tokens * tile / tiles;
}

// A block of row `at` of a panel or tile of `rows`; steps: of all of k.
template <class Lanes>
ASSAY_INLINE void put(const typename Lanes::Pairs& pairs, std::size_t block, std::size_t steps,
                      std::size_t at, std::size_t rows, typename Parts<Lanes>::Stored* to) {
  using P = Parts<Lanes>;
  ASSAY_UNROLL
  for (std::size_t p = 0; p < P::kCount; ++p) {
    ASSAY_UNROLL
    for (std::size_t h = 0; h < P::kSteps; ++h) {
      const std::size_t step = p * steps + block * P::kSteps + h;
      pairs.operand(h, p).store(to + (step * rows + at) * P::kWidth);
    }
  }
}

template <class Lanes, class Real>
void pack_tile(const Real* x, std::size_t tokens, std::size_t k, std::size_t tile, Real* packed) {
  using P = Parts<Lanes>;
  const std::size_t tiles = (tokens + P::kTokens - 1) / P::kTokens;
  const std::size_t first = first_of_tile(tile, tokens, tiles);
  const std::size_t count = first_of_tile(tile + 1, tokens, tiles) - first;
  const std::size_t blocks = blocks_of(k);
  auto* to = reinterpret_cast<typename P::Stored*>(packed) + first * P::stored(k);
  for (std::size_t t = 0; t < count; ++t) {
    for (std::size_t b = 0; b < blocks; ++b) {
      put<Lanes>(block_of<typename Lanes::Pairs>(x + (first + t) * k, b * kBlock, k), b,
                 blocks * P::kSteps, t, count, to);
    }
  }
}

// Packs `rows` rows of weights into panels; the last group is padded with zeros.
template <class Lanes, class Rows>
void pack_panels(const std::byte* w, std::size_t rows, std::size_t k,
                 typename Parts<Lanes>::Stored* to) {
  using P = Parts<Lanes>;
  using Pairs = typename Lanes::Pairs;
  const std::size_t blocks = blocks_of(k);
  const std::size_t panels = (rows + kGroup - 1) / kGroup * kGroup / P::kRows;
  for (std::size_t panel = 0; panel < panels; ++panel) {
    for (std::size_t b = 0; b < blocks; ++b) {
      const std::size_t left = k - b * kBlock;
      ASSAY_UNROLL
      for (std::size_t r = 0; r < P::kRows; ++r) {
        const std::size_t row = panel * P::kRows + r;
        const std::byte* at = w + (row * k + b * kBlock) * Rows::kSize;
        __builtin_prefetch(at + kGroup * k * Rows::kSize, 0, 3);
        put<Lanes>(row >= rows      ? Pairs::zero()
                   : left >= kBlock ? Rows::load(at)
                                    : load_row_tail<Pairs, Rows>(at, left),
                   b, blocks * P::kSteps, r, P::kRows, to);
      }
    }
    to += P::kRows * P::stored(k);
  }
}

// Panels in memory: the strides of their steps and rows, in Stored values. Rows of a mapped file
// are not aligned.
template <class Lanes>
struct Panels {
  using P = Parts<Lanes>;
  const typename P::Stored* first;
  std::size_t row, step, part, panel;  // from each to the next

  // As pack_panels() writes them.
  static Panels packed(const typename P::Stored* panels, std::size_t k) {
    return {panels, P::kWidth, P::kRows * P::kWidth, P::kRows * P::stored(k) / P::kCount,
            P::kRows * P::stored(k)};
  }
  // The file's own rows, in whole blocks.
  static Panels in_place(const std::byte* rows, std::size_t k) {
    const std::size_t row = P::stored(k);
    return {reinterpret_cast<const typename P::Stored*>(rows), row, P::kWidth, 0, P::kRows * row};
  }
  Panels from_row(std::size_t row_index) const {
    return {first + row_index / P::kRows * panel, row, step, part, panel};
  }
};

// Part p of kRows x kTokens dots with the rows of panel i: continues the sums over steps [begin,
// end).
template <class Lanes, int kTokens, class Stored>
ASSAY_INLINE void part_of_dots(const Stored* x, const Panels<Lanes>& panels, std::size_t i,
                               std::size_t p, std::size_t begin, std::size_t end,
                               typename Lanes::Part (&sum)[Lanes::kPartRows][kTokens]) {
  using P = Parts<Lanes>;
  using Operand = typename P::Operand;
  constexpr auto kWidth = static_cast<int>(P::kWidth);
  constexpr auto kRows = P::kRows;
  const Stored* rows[kRows];
  ASSAY_UNROLL
  for (std::size_t r = 0; r < kRows; ++r) {
    rows[r] =
        panels.first + i * panels.panel + p * panels.part + begin * panels.step + r * panels.row;
  }
  x += begin * kTokens * kWidth;
  const std::size_t steps = end - begin;
  const std::size_t last = steps > kStepsAhead ? steps - kStepsAhead : 0;
  // The last steps prefetch the first steps of the next panel.
  const std::size_t ahead[] = {kStepsAhead * panels.step,
                               kStepsAhead * panels.step + panels.panel - steps * panels.step};
  const std::size_t stops[] = {last * panels.step, steps * panels.step};
  std::size_t at = 0;
  for (int leg = 0; leg < 2; ++leg) {
    for (; at < stops[leg]; at += panels.step) {
      // The operand with fewer rows stays in registers; the other one is streamed.
      if constexpr (kTokens < Lanes::kPartRows) {
        Operand token[kTokens];
        ASSAY_UNROLL
        for (int t = 0; t < kTokens; ++t) token[t] = Operand::load(x + t * kWidth);
        ASSAY_UNROLL
        for (std::size_t r = 0; r < kRows; ++r) {
          const Operand weights = Operand::load(rows[r] + at);
          ASSAY_UNROLL
          for (int t = 0; t < kTokens; ++t) sum[r][t].fma(weights, token[t]);
        }
      } else {
        Operand weights[kRows];
        ASSAY_UNROLL
        for (std::size_t r = 0; r < kRows; ++r) weights[r] = Operand::load(rows[r] + at);
        ASSAY_UNROLL
        for (std::size_t r = 0; r < kRows; ++r) {
          __builtin_prefetch(rows[r] + at + ahead[leg], 0, 3);
        }
        ASSAY_UNROLL
        for (int t = 0; t < kTokens; ++t) {
          Operand token = Operand::load(x + t * kWidth);
          if constexpr (requires { token.keep(); }) token.keep();
          ASSAY_UNROLL
          for (std::size_t r = 0; r < kRows; ++r) sum[r][t].fma(weights[r], token);
        }
      }
      x += kTokens * kWidth;
    }
  }
}

// Up to kSweep rows against a tile of kTokens tokens.
template <class N, class Lanes, int kTokens, class Real>
void sweep(const typename Parts<Lanes>::Stored* x, const Panels<Lanes>& panels, std::size_t rows,
           std::size_t k, const Real* bias, Real* out, std::size_t ldo) {
  using P = Parts<Lanes>;
  constexpr auto kTile = static_cast<std::size_t>(kTokens);
  const std::size_t steps = blocks_of(k) * P::kSteps;
  const std::size_t padded = (rows + kGroup - 1) / kGroup * kGroup;
  // Values per dot: all its lanes, or the four that are left if trees begin in registers.
  constexpr std::size_t kKept = P::kQuarters ? kLanes / P::kRows : kLanes;
  // [group of rows][token][row][lane]
  alignas(64) Real done[kSweep * kTile * kKept];
  // k is split into pieces so that a tile's tokens stay in the L1 cache. Sums are stored in
  // between.
  constexpr std::size_t kDepth = kDepthBytes / (kTile * P::kWidth * sizeof(typename P::Stored));
  const std::size_t pieces = (steps + kDepth - 1) / kDepth;
  typename P::Part set_down[kSweep / P::kRows][P::kRows][kTile];
  for (std::size_t i = 0; i < P::kCount * pieces; ++i) {
    const std::size_t p = i / pieces;
    const std::size_t begin = steps * (i % pieces) / pieces;
    const std::size_t end = steps * (i % pieces + 1) / pieces;
    for (std::size_t first = 0; first < padded; first += P::kRows) {
      typename P::Part sum[P::kRows][kTile];
      auto& carried = set_down[first / P::kRows];
      ASSAY_UNROLL
      for (std::size_t r = 0; r < P::kRows; ++r) {
        ASSAY_UNROLL
        for (std::size_t t = 0; t < kTile; ++t) {
          sum[r][t] = begin == 0 ? P::Part::zero() : carried[r][t];
        }
      }
      part_of_dots<Lanes, kTokens>(x + p * steps * kTile * P::kWidth, panels, first / P::kRows, p,
                                   begin, end, sum);
      if (end < steps) {
        ASSAY_UNROLL
        for (std::size_t r = 0; r < P::kRows; ++r) {
          ASSAY_UNROLL
          for (std::size_t t = 0; t < kTile; ++t) carried[r][t] = sum[r][t];
        }
        continue;
      }
      Real* to = done + first / kGroup * kGroup * kTile * kKept;
      if constexpr (P::kQuarters) {
        ASSAY_UNROLL
        for (std::size_t t = 0; t < kTile; ++t) {
          const Lanes quarter{Lanes::quarter(sum[0][t].v, sum[1][t].v, sum[2][t].v, sum[3][t].v)};
          quarter.store(to + (t * kGroup + first % kGroup) * kKept);
        }
      } else {
        ASSAY_UNROLL
        for (std::size_t r = 0; r < P::kRows; ++r) {
          ASSAY_UNROLL
          for (std::size_t t = 0; t < kTile; ++t) {
            sum[r][t].store(to + (t * kGroup + first % kGroup + r) * kLanes + p * P::kWidth);
          }
        }
      }
    }
  }
  for (std::size_t first = 0; first < rows; first += kGroup) {
    const std::size_t count = std::min(kGroup, rows - first);
    for (std::size_t t = 0; t < kTile; ++t) {
      const Real* lanes = done + (first * kTile + t * kGroup) * kKept;
      Real* to = out + t * ldo + first;
      alignas(64) Real dots[kGroup];
      if constexpr (P::kQuarters) {
        Lanes trees = Lanes::trees_of_quarters(lanes);
        if constexpr (requires { trees.round_flushed(); }) {
          if (count == kGroup) {
            if (bias != nullptr) trees.dot_add(Lanes::load(bias + first));
            trees.round_flushed();
            trees.store(to);
            continue;
          }
        }
        trees.store(dots);
      } else {
        trees_of<Lanes>(lanes, dots);
      }
      if (count == kGroup) {
        for (std::size_t r = 0; r < kGroup; ++r)
          to[r] = finished<N, Lanes>(dots[r], bias, first + r);
      } else {
        for (std::size_t r = 0; r < count; ++r)
          to[r] = finished<N, Lanes>(dots[r], bias, first + r);
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
  using Stored = typename P::Stored;
  static_assert(kGroup % P::kRows == 0 && kSweep % kGroup == 0);
  static_assert(sizeof(Stored) <= sizeof(Real));
  const auto* x = reinterpret_cast<const Stored*>(packed);
  const std::size_t k = w.cols;
  const std::size_t row_bytes = P::stored(k) * sizeof(Stored);
  const std::size_t tiles = (tokens + P::kTokens - 1) / P::kTokens;
  const std::size_t pass_tiles = kPassTokens / P::kTokens;
  const std::size_t block_rows = std::max(kSweep, kPanelBytes / row_bytes / kSweep * kSweep);
  const auto panels_of = [&](std::size_t row, std::size_t end) {
    if constexpr (requires { Lanes::Pairs::kTakesRowsInPlace; }) {
      if (w.dtype == DType::kBF16 && k % kBlock == 0 && (end - row) % kGroup == 0) {
        return Panels<Lanes>::in_place(w.data + row * row_bytes, k);
      }
    }
    auto* panels = reinterpret_cast<Stored*>(kernel_scratch(block_rows * row_bytes));
    with_stored(w.dtype, [&]<DType kStored>() {
      using Rows = StoredWeights<N, typename Lanes::Pairs, kStored>;
      pack_panels<Lanes, Rows>(w.data + row * k * Rows::kSize, end - row, k, panels);
    });
    return Panels<Lanes>::packed(panels, k);
  };
  for (std::size_t pass = 0; pass < tiles; pass += pass_tiles) {
    const std::size_t pass_end = std::min(pass + pass_tiles, tiles);
    for (std::size_t block = row_begin; block < row_end; block += block_rows) {
      const std::size_t block_end = std::min(block + block_rows, row_end);
      const Panels<Lanes> panels = panels_of(block, block_end);
      for (std::size_t tile = pass; tile < pass_end; ++tile) {
        const std::size_t first = first_of_tile(tile, tokens, tiles);
        const std::size_t count = first_of_tile(tile + 1, tokens, tiles) - first;
        with_tokens<Lanes::kPartTokens>(count, [&]<int kTokens>() {
          for (std::size_t row = block; row < block_end; row += kSweep) {
            sweep<N, Lanes, kTokens>(x + first * P::stored(k), panels.from_row(row - block),
                                     std::min(kSweep, block_end - row), k,
                                     bias != nullptr ? bias + row : nullptr,
                                     out + first * ldo + row, ldo);
          }
        });
      }
    }
  }
}

}  // namespace
}  // namespace assay
