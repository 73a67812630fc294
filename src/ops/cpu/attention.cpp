// Attention over the KV cache.
#include <algorithm>
#include <utility>
#include <vector>

#include "ops/cpu/ops.h"

namespace assay {
namespace {

// The number of queries of one head that are computed together, so that their scores stay in the
// CPU's cache.
constexpr std::size_t kQueries = 12;

constexpr Tap kShown[] = {Tap::kAttnScores, Tap::kAttnProbs};

}  // namespace

template <class N>
void Ops<N>::append(std::span<const Stretch<N>> stretches, std::span<KvCache<N>* const> caches,
                    std::span<const Real> keys, std::span<const Real> values) {
  std::size_t tokens = 0;
  for (const Stretch<N>& stretch : stretches) tokens += stretch.count;
  const std::size_t width = keys.size() / tokens;
  const std::size_t head_dim = caches.front()->layout().n;
  const std::size_t heads = width / head_dim;
  pool_.parallel_for(tokens, kGrain / width + 1, [&](std::size_t begin, std::size_t end) {
    std::size_t first = 0;  // token of the stretch
    for (std::size_t s = 0; s < stretches.size(); first += stretches[s].count, ++s) {
      const std::size_t last = std::min(end, first + stretches[s].count);
      for (std::size_t t = std::max(begin, first); t < last; ++t) {
        for (std::size_t h = 0; h < heads; ++h) {
          const std::size_t at = t * width + h * head_dim;
          caches[s]->put(h, stretches[s].position + t - first, &keys[at], &values[at]);
        }
      }
    }
  });
}

template <class N>
struct Ops<N>::Attending {
  const Scores& scores;
  Heads heads;
  std::int64_t layer;
  std::span<const Stretch<N>> stretches;
  std::span<KvCache<N>* const> caches;
  const Real* q;
  Real* context;
  std::size_t width;        // of a row of scores
  std::vector<Real> sinks;  // per query head, or empty
  Seen sees;                // the query at position p sees keys from begin(p) on
};

template <class N>
void Ops<N>::attend(const Scores& scores, const Heads& heads, std::int64_t layer,
                    std::span<const Stretch<N>> stretches, std::span<KvCache<N>* const> caches,
                    std::span<const Real> q, const Weight* sinks, std::span<Real> context) {
  const Seen sees{1, scores.window > 0 ? static_cast<std::size_t>(scores.window) : Seen{}.window};
  queries_.clear();
  std::size_t longest = 0;
  std::size_t work = 0;
  std::size_t token = 0;
  for (std::size_t s = 0; s < stretches.size(); ++s) {
    const Stretch<N>& stretch = stretches[s];
    for (std::size_t i = 0; i < stretch.count; i += kQueries) {
      queries_.push_back(
          {s, token + i, stretch.position + i, std::min(kQueries, stretch.count - i)});
    }
    token += stretch.count;
    const std::size_t end = stretch.position + stretch.count;
    longest = std::max(longest, end);
    for (std::size_t p = stretch.position; p < end; ++p) {
      work += (p + 1 - sees.begin(p)) * heads.head_dim * heads.queries * 2;
    }
    for (const Tap tap : kShown) {
      if (stretch.observer == nullptr || !stretch.observer->wants(tap, layer)) continue;
      stretch.observer->begin_attention(tap, layer, tap == Tap::kAttnScores ? N::kMasked : Real{0});
    }
  }
  // Rows of scores go from the first position of a block of keys to the last.
  const std::size_t width = CacheLayout::whole_blocks(longest);
  scores_.resize(static_cast<std::size_t>(pool_.size()) * kQueries * width);
  std::vector<Real> of_heads;
  if (sinks != nullptr) {
    of_heads.resize(sinks->cols);
    kernels_.load_row(*sinks, 0, of_heads.data());
  }
  const Attending with{scores,   heads,          layer, stretches,           caches,
                       q.data(), context.data(), width, std::move(of_heads), sees};
  // A head's keys and values stay in the CPU's cache while its queries pass over them.
  pool_.share_items(heads.queries * queries_.size(), work / kGrain + 1,
                    [&](std::size_t item, int worker) {
                      attend_one(with, queries_[item % queries_.size()], item / queries_.size(),
                                 &scores_[static_cast<std::size_t>(worker) * kQueries * width]);
                    });
  for (const Stretch<N>& stretch : stretches) {
    for (const Tap tap : kShown) {
      if (stretch.observer == nullptr || !stretch.observer->wants(tap, layer)) continue;
      stretch.observer->end_attention(tap, layer, static_cast<std::int64_t>(stretch.count));
    }
  }
}

template <class N>
void Ops<N>::attend_one(const Attending& with, const Queries& queries, std::size_t head,
                        Real* scores) {
  const std::size_t head_dim = with.heads.head_dim;
  const std::size_t of_keys = head / (with.heads.queries / with.heads.keys);
  Observer<Real>* observer = with.stretches[queries.stretch].observer;
  const KvCache<N>& cache = *with.caches[queries.stretch];
  const std::size_t width = with.width;
  // The positions that any of the queries sees, from the beginning of a block on.
  constexpr std::size_t kKeys = CacheLayout::kBlock;
  const std::size_t begin = with.sees.begin(queries.position) / kKeys * kKeys;
  const std::size_t count = queries.position + queries.count - begin;
  const auto look = [&](Tap tap) {
    if (observer == nullptr || !observer->wants(tap, with.layer)) return;
    for (std::size_t i = 0; i < queries.count; ++i) {
      const std::size_t seen = with.sees.begin(queries.position + i);
      AttentionRows<Real> row;
      row.head = static_cast<std::int64_t>(head);
      row.first_query = static_cast<std::int64_t>(queries.position + i);
      row.queries = 1;
      row.first_key = static_cast<std::int64_t>(seen);
      row.keys = row.first_query + 1 - row.first_key;
      row.values = scores + i * width + (seen - begin);
      row.stride = width;
      observer->attention(tap, with.layer, row);
    }
  };
  const std::size_t stride = with.heads.queries * head_dim;
  const std::size_t at = queries.token * stride + head * head_dim;
  kernels_.scores(with.q + at, stride, queries.count, cache.keys(of_keys, begin), count, head_dim,
                  static_cast<Real>(with.scores.scale), scores, width);
  for (std::size_t i = 0; with.scores.cap > 0 && i < queries.count; ++i) {
    Real* row = scores + i * width;
    kernels_.softcap(row, static_cast<Real>(with.scores.cap), count, row);
  }
  look(Tap::kAttnScores);
  for (std::size_t i = 0; i < queries.count; ++i) {
    const std::size_t seen = with.sees.begin(queries.position + i);
    Real* row = scores + i * width + (seen - begin);
    const std::size_t keys = queries.position + i + 1 - seen;
    if (with.sinks.empty()) {
      kernels_.softmax(row, keys, row);
    } else {
      kernels_.sink_softmax(row, keys, with.sinks[head], row);
    }
  }
  look(Tap::kAttnProbs);
  kernels_.weighted_sum(scores, width, queries.count,
                        {queries.position + 1 - begin, with.sees.window},
                        cache.values(of_keys, begin), head_dim, with.context + at, stride);
}

#define ASSAY_INSTANTIATE(N)                                                              \
  template void Ops<N>::append(std::span<const Stretch<N>>, std::span<KvCache<N>* const>, \
                               std::span<const N::Real>, std::span<const N::Real>);       \
  template void Ops<N>::attend(const Scores&, const Ops<N>::Heads&, std::int64_t,         \
                               std::span<const Stretch<N>>, std::span<KvCache<N>* const>, \
                               std::span<const N::Real>, const Weight*, std::span<N::Real>)
ASSAY_INSTANTIATE(Bf16);
ASSAY_INSTANTIATE(F32);
ASSAY_INSTANTIATE(F64);
#undef ASSAY_INSTANTIATE

}  // namespace assay
