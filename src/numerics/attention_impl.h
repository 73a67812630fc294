// Products of queries with keys and of probabilities with values, in the KV cache's layout
// (CacheLayout): 16 positions of keys are side by side, so that no dot has to be summed across a
// register; values are in pairs of positions. Included like kernels_impl.h.
#pragma once

#include "numerics/matmul_impl.h"

namespace assay {
namespace {

// Sixteen pairs of the cache.
template <class N, class Lanes>
struct CachedPairs {
  using Cached = typename N::Cached;
  ASSAY_INLINE static typename Lanes::Pairs load(const Cached* x) {
    if constexpr (sizeof(Cached) == 2) {
      return Lanes::Pairs::load_bf16(reinterpret_cast<const std::byte*>(x));
    } else {
      return Lanes::Pairs::load(x);
    }
  }
};

// n elements in the form from which a dot's pairs are broadcast, padded with zeros to whole blocks.
template <class Pairs, class Real>
ASSAY_INLINE void flatten(const Real* x, std::size_t n, typename Pairs::Stored* to) {
  for (std::size_t i = 0; i < n; i += kBlock, to += kLanes * Pairs::kStoredPerPair) {
    if (i + kBlock <= n) {
      Pairs::flatten(x + i, to);
      continue;
    }
    Real padded[kBlock] = {};
    std::memcpy(padded, x + i, (n - i) * sizeof(Real));
    Pairs::flatten(padded, to);
  }
}

// kQueries queries, `pairs` pairs each, against a block of 16 keys: out[q * ldo + position] =
// round(dot). Every lane of the dots is a register here, of which some are added up at a time:
// those whose sums the tree's first steps add, 8 and 4 apart.
template <class N, class Lanes, int kQueries, class Real>
ASSAY_INLINE void block_of_scores(const typename Lanes::Pairs::Stored* q,
                                  const typename N::Cached* keys, std::size_t pairs, Real* out,
                                  std::size_t ldo) {
  using Pairs = typename Lanes::Pairs;
  constexpr int kAtOnce = Lanes::kScoreLanes;
  static_assert(kAtOnce == 1 || kAtOnce == 2 || kAtOnce == 4);
  constexpr std::size_t kOrder[] = {0, 8, 4, 12};
  constexpr int kLeft = static_cast<int>(kLanes) / kAtOnce;
  Lanes left[kLeft][kQueries];
  for (int l = 0; l < kLeft; ++l) {
    Lanes sum[kAtOnce][kQueries];
    ASSAY_UNROLL
    for (auto& of_lane : sum) {
      ASSAY_UNROLL
      for (Lanes& s : of_lane) s = Lanes::zero();
    }
    for (std::size_t block = 0; block < pairs; block += kLanes) {
      ASSAY_UNROLL
      for (int i = 0; i < kAtOnce; ++i) {
        const std::size_t pair = block + static_cast<std::size_t>(l) + kOrder[i];
        const Pairs key = CachedPairs<N, Lanes>::load(keys + pair * kBlock);
        ASSAY_UNROLL
        for (int t = 0; t < kQueries; ++t) {
          const std::size_t at =
              (static_cast<std::size_t>(t) * pairs + pair) * Pairs::kStoredPerPair;
          sum[i][t].dot(key, Pairs::broadcast(q + at));
        }
      }
    }
    ASSAY_UNROLL
    for (int t = 0; t < kQueries; ++t) {
      if constexpr (kAtOnce > 1) sum[0][t].dot_add(sum[1][t]);
      if constexpr (kAtOnce > 2) {
        sum[2][t].dot_add(sum[3][t]);
        sum[0][t].dot_add(sum[2][t]);
      }
      left[l][t] = sum[0][t];
    }
  }
  for (int width = kLeft / 2; width > 0; width /= 2) {
    for (int l = 0; l < width; ++l) {
      ASSAY_UNROLL
      for (int t = 0; t < kQueries; ++t) left[l][t].dot_add(left[l + width][t]);
    }
  }
  ASSAY_UNROLL
  for (int t = 0; t < kQueries; ++t) {
    Real dots[kLanes];
    left[0][t].store(dots);
    Real* to = out + static_cast<std::size_t>(t) * ldo;
    for (std::size_t i = 0; i < kLanes; ++i) to[i] = N::round(dots[i]);
  }
}

// Kernels::scores, without the scale.
template <class N, class Lanes, class Real>
ASSAY_INLINE void rounded_dots(const Real* q, std::size_t ldq, std::size_t queries,
                               const typename N::Cached* keys, std::size_t count, std::size_t n,
                               Real* out, std::size_t ldo) {
  using Pairs = typename Lanes::Pairs;
  constexpr auto kTile = static_cast<std::size_t>(Lanes::kScoreQueries);
  const std::size_t width = CacheLayout{n}.key_width();
  const std::size_t pairs = width / 2;
  const std::size_t stored = pairs * Pairs::kStoredPerPair;
  auto* flat = reinterpret_cast<typename Pairs::Stored*>(
      kernel_scratch(queries * stored * sizeof(typename Pairs::Stored)));
  for (std::size_t i = 0; i < queries; ++i) flatten<Pairs>(q + i * ldq, n, flat + i * stored);
  for (std::size_t first = 0; first < count; first += CacheLayout::kBlock) {
    for (std::size_t i = 0; i < queries; i += kTile) {
      with_tokens<Lanes::kScoreQueries>(std::min(kTile, queries - i), [&]<int kQueries>() {
        block_of_scores<N, Lanes, kQueries>(flat + i * stored, keys + first * width, pairs,
                                            out + i * ldo + first, ldo);
      });
    }
  }
}

// kQueries queries from `first_query` on, and kGroups x 16 channels. probs: [query][pair], zero
// where a query does not see.
template <class N, class Lanes, int kQueries, int kGroups, class Real>
ASSAY_INLINE void tile_of_sums(const typename Lanes::Pairs::Stored* probs, std::size_t ldp,
                               const Seen& seen, std::size_t first_query,
                               const typename N::Cached* values, std::size_t width,
                               std::size_t channels, Real* out, std::size_t ldo) {
  using Pairs = typename Lanes::Pairs;
  Lanes sum[kQueries][kGroups];
  ASSAY_UNROLL
  for (auto& of_query : sum) {
    ASSAY_UNROLL
    for (Lanes& s : of_query) s = Lanes::zero();
  }
  const auto add = [&]<bool kMasked>(std::size_t pair) {
    Pairs value[kGroups];
    ASSAY_UNROLL
    for (int g = 0; g < kGroups; ++g) {
      value[g] = CachedPairs<N, Lanes>::load(values + pair * 2 * width +
                                             static_cast<std::size_t>(g) * kBlock);
    }
    ASSAY_UNROLL
    for (int i = 0; i < kQueries; ++i) {
      const auto query = static_cast<std::size_t>(i);
      const Pairs p = Pairs::broadcast(probs + (query * ldp + pair) * Pairs::kStoredPerPair);
      const std::size_t begin = seen.begin(first_query + query);
      const std::size_t end = seen.end + first_query + query;
      const auto sees = [&](std::size_t position) { return position >= begin && position < end; };
      ASSAY_UNROLL
      for (int g = 0; g < kGroups; ++g) {
        sum[i][g].dot(kMasked ? value[g].masked(sees(2 * pair), sees(2 * pair + 1)) : value[g], p);
      }
    }
  };
  constexpr auto kLast = static_cast<std::size_t>(kQueries - 1);
  const std::size_t end = (seen.end + first_query + kLast + 1) / 2;
  // Whole pairs of positions that all queries see.
  const std::size_t all_begin = (seen.begin(first_query + kLast) + 1) / 2;
  const std::size_t all_end = std::max((seen.end + first_query) / 2, all_begin);
  std::size_t pair = seen.begin(first_query) / 2;
  for (; pair < std::min(all_begin, end); ++pair) add.template operator()<true>(pair);
  for (; pair < std::min(all_end, end); ++pair) add.template operator()<false>(pair);
  for (; pair < end; ++pair) add.template operator()<true>(pair);
  ASSAY_UNROLL
  for (int i = 0; i < kQueries; ++i) {
    ASSAY_UNROLL
    for (int g = 0; g < kGroups; ++g) {
      const std::size_t channel = static_cast<std::size_t>(g) * kLanes;
      if (channel >= channels) break;
      Real sums[kLanes];
      sum[i][g].dot_add(Lanes::zero());
      sum[i][g].store(sums);
      Real* to = out + static_cast<std::size_t>(i) * ldo + channel;
      const std::size_t count = std::min(kLanes, channels - channel);
      for (std::size_t c = 0; c < count; ++c) to[c] = N::round(sums[c]);
    }
  }
}

// Kernels::weighted_sum.
template <class N, class Lanes, class Real>
ASSAY_INLINE void weighted_sums(const Real* probs, std::size_t ldp, std::size_t queries, Seen seen,
                                const typename N::Cached* values, std::size_t n, Real* out,
                                std::size_t ldo) {
  using Pairs = typename Lanes::Pairs;
  using Stored = typename Pairs::Stored;
  constexpr auto kTile = static_cast<std::size_t>(Lanes::kSumQueries);
  constexpr std::size_t kWide = static_cast<std::size_t>(Lanes::kSumGroups) * kLanes;
  const std::size_t width = CacheLayout{n}.value_width();
  const std::size_t positions = seen.end + queries - 1;
  const std::size_t blocks = blocks_of(positions);
  const std::size_t stored = blocks * kLanes * Pairs::kStoredPerPair;
  auto* flat = reinterpret_cast<Stored*>(
      kernel_scratch(kTile * stored * sizeof(Stored) + blocks * kBlock * sizeof(Real)));
  auto* row = reinterpret_cast<Real*>(flat + kTile * stored);
  for (std::size_t first = 0; first < queries; first += kTile) {
    const std::size_t count = std::min(kTile, queries - first);
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t begin = seen.begin(first + i);
      const std::size_t end = seen.end + first + i;
      std::memset(row, 0, begin * sizeof(Real));
      std::memcpy(row + begin, probs + (first + i) * ldp + begin, (end - begin) * sizeof(Real));
      std::memset(row + end, 0, (blocks * kBlock - end) * sizeof(Real));
      flatten<Pairs>(row, blocks * kBlock, flat + i * stored);
    }
    with_tokens<Lanes::kSumQueries>(count, [&]<int kQueries>() {
      std::size_t channel = 0;
      for (; channel + kWide <= width; channel += kWide) {
        tile_of_sums<N, Lanes, kQueries, Lanes::kSumGroups>(
            flat, blocks * kLanes, seen, first, values + channel * 2, width, n - channel,
            out + first * ldo + channel, ldo);
      }
      for (; channel < width; channel += kLanes) {
        tile_of_sums<N, Lanes, kQueries, 1>(flat, blocks * kLanes, seen, first,
                                            values + channel * 2, width, n - channel,
                                            out + first * ldo + channel, ldo);
      }
    });
  }
}

}  // namespace
}  // namespace assay
