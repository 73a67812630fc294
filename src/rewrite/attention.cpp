#include "rewrite/attention.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <type_traits>

#include "numerics/noise.h"
#include "ops/kv_cache.h"
#include "rewrite/elementwise.h"
#include "rewrite/foreign_of.h"
#include "rewrite/operand_rounding.h"
#include "rewrite/sleef_functions.h"

namespace assay {
namespace {

// A key or a value after it was stored in a cache of another type.
template <class N>
void through_cache(DType dtype, std::span<typename N::Real> row) {
  double largest = 0;
  for (const auto x : row) largest = std::max(largest, std::abs(static_cast<double>(x)));
  const double step = dtype == DType::kI8 ? largest / 127 : 1;
  if (step == 0) return;
  for (auto& value : row) {
    const auto x = static_cast<double>(value);
    const double y = dtype == DType::kI8 ? std::nearbyint(x / step) * step : rounded_to(dtype, x);
    value = N::round(static_cast<typename N::Real>(y));
  }
}

// One more score, which belongs to no position.
struct Sink {
  double score;
  bool own;  // the model's: differences from the greatest score are rounded
};

// One softmax of `count` scores, `stride` apart.
template <class N>
void one_softmax(const OddAttention& odd, std::optional<Sink> sink, std::size_t count,
                 std::size_t stride, typename N::Real* x) {
  using Real = typename N::Real;
  double highest = sink ? sink->score : static_cast<double>(N::kMasked);
  for (std::size_t j = 0; j < count; ++j) {
    highest = std::max(highest, static_cast<double>(x[j * stride]));
  }
  const auto held = [&](double value) {
    return rounded_to(odd.softmax, static_cast<double>(static_cast<Real>(value)));
  };
  const bool rounds = sink && sink->own && odd.own_sinks != OwnSinks::kUnrounded;
  const auto below = [&](double value) {
    const auto difference = static_cast<Real>(value - highest);
    return held(static_cast<double>(rounds ? stored<N>(odd.store, difference) : difference));
  };
  const double of_sink = sink ? held(exponential(below(sink->score))) : 0.0;
  double sum = of_sink;
  std::vector<double> e(count);
  for (std::size_t j = 0; j < count; ++j) {
    e[j] = held(exponential(below(static_cast<double>(x[j * stride]))));
    sum += e[j];
  }
  sum = held(sum);
  if (odd.own_sinks == OwnSinks::kOnFirstKey && sink && sink->own) e[0] += of_sink;
  for (std::size_t j = 0; j < count; ++j) {
    x[j * stride] = stored<N>(odd.store, static_cast<Real>(held(e[j] / sum)));
  }
}

// Softmax over rows of `count` scores in place. Row i begins with element firsts[i]; what is before
// it becomes 0.
template <class N>
void softmax_of(const OddAttention& odd, std::optional<Sink> sink, const Kernels<N>& kernels,
                std::span<const std::size_t> firsts, std::size_t count, typename N::Real* x) {
  const std::size_t rows = firsts.size();
  if (odd.over_queries) {
    for (std::size_t j = 0; j < count; ++j) one_softmax<N>(odd, sink, rows, count, x + j);
    return;
  }
  const bool own = !sink || (sink->own && odd.own_sinks == OwnSinks::kUsed);
  const bool plain = odd.softmax == DType::kF32 && own && odd.store == Store::kOwn;
  for (std::size_t i = 0; i < rows; ++i) {
    typename N::Real* row = x + i * count;
    const std::size_t first = firsts[i];
    if (plain && sink) {
      kernels.sink_softmax(row + first, count - first, static_cast<typename N::Real>(sink->score),
                           row + first);
    } else if (plain) {
      kernels.softmax(row + first, count - first, row + first);
    } else {
      one_softmax<N>(odd, sink, count - first, 1, row + first);
    }
    std::fill_n(row, first, typename N::Real{0});
  }
}

template <class N>
void hold(OperandType type, std::span<typename N::Real> values, std::size_t width) {
  if (type == OperandType::kOwn) return;
  round_operand(type, values, width);
  std::ranges::transform(values, values.begin(), [](auto x) { return N::round(x); });
}

// Rounds probabilities as the context reads them.
template <class N>
void hold_read(const HeldRows& held, std::span<typename N::Real> values, std::size_t width) {
  using Real = typename N::Real;
  if (!held.before_division) return hold<N>(held.type, values, width);
  for (std::size_t begin = 0; begin < values.size(); begin += width) {
    const std::span<Real> row = values.subspan(begin, width);
    const Real greatest = *std::ranges::max_element(row);
    if (greatest == 0) continue;
    const auto scale = static_cast<Real>((1 + held.exponential_error) / greatest);
    for (Real& x : row) x *= scale;
    hold<N>(held.type, row, width);
    for (Real& x : row) x *= greatest;
  }
}

// The token that the query at p finds in slot j; -1: an unwritten slot.
std::int64_t token_in_slot(const Decoding& decoding, std::int64_t p, std::int64_t j) {
  if (decoding.fault != DecodeFault::kSlot || p < decoding.from) return j;
  const std::int64_t decoded = j - decoding.amount;
  if (decoded >= decoding.from) return decoded <= p ? decoded : -1;
  return j < decoding.from ? j : -1;
}

bool is_visible(const OddAttention& odd, std::int64_t p, std::int64_t j) {
  const Decoding& decoding = odd.decoding;
  if (decoding.fault != DecodeFault::kNone && p >= decoding.from) {
    if (decoding.fault == DecodeFault::kAlone) return j == p;
    if (decoding.fault == DecodeFault::kFirstOnly) return j == 0;
    if (decoding.fault == DecodeFault::kNotItself) return j < p;
    if (decoding.fault == DecodeFault::kNoWindow) return j <= p;
  }
  if (odd.mask == Mask::kNone) return true;
  if (odd.scores.window > 0 && j <= p - odd.scores.window) return false;
  return j <= p + odd.mask_offset;
}

// The attention of one sequence.
template <class N>
class Attention {
 public:
  using Real = typename N::Real;
  using Cached = typename N::Cached;

  Attention(const OddAttention& odd, ForeignRun<N>& with)
      : odd_(odd),
        with_(with),
        count_(with.tokens),
        n_(with.head_dim),
        heads_(with.widths[0] / n_),
        kv_heads_(with.widths[1] / n_),
        cache_(kv_heads_, n_, count_) {}

  void run() {
    fill_cache();
    if (odd_.decoding.fault == DecodeFault::kRotatedAgain) again_.emplace(odd_.again, count_);
    Observer<Real>* observer = with_.observer;
    for (const Tap tap : {Tap::kAttnScores, Tap::kAttnProbs}) {
      if (wants(tap)) {
        observer->begin_attention(tap, with_.layer, tap == Tap::kAttnScores ? N::kMasked : Real{0});
      }
    }
    with_.ops.pool().for_each_item(heads_, [&](std::size_t h) { attend(h); });
    for (const Tap tap : {Tap::kAttnScores, Tap::kAttnProbs}) {
      if (wants(tap)) observer->end_attention(tap, with_.layer, static_cast<std::int64_t>(count_));
    }
  }

 private:
  // A head's input, read back from the cache's layout: [positions, head_dim].
  struct Rows {
    const Cached* cached = nullptr;
    std::vector<Cached> rows, unrotated;
  };

  bool wants(Tap tap) const {
    return with_.observer != nullptr && with_.observer->wants(tap, with_.layer);
  }

  void fill_cache() {
    std::vector<Real> key(n_);
    std::vector<Real> value(n_);
    for (std::size_t p = 0; p < count_; ++p) {
      for (std::size_t h = 0; h < kv_heads_; ++h) {
        const std::size_t at = (p * kv_heads_ + h) * n_;
        std::copy_n(&with_.reads[1][at], n_, key.begin());
        std::copy_n(&with_.reads[2][at], n_, value.begin());
        if (odd_.cache != DType::kF32) {
          through_cache<N>(odd_.cache, key);
          through_cache<N>(odd_.cache, value);
        }
        cache_.put(h, p, key.data(), value.data());
      }
    }
  }

  Rows rows_of(bool keys, std::size_t head) const {
    const CacheLayout layout = cache_.layout();
    Rows all{keys ? cache_.keys(head) : cache_.values(head), {}, {}};
    if (odd_.decoding.fault == DecodeFault::kNone) return all;
    for (std::size_t p = 0; p < count_; ++p) {
      for (std::size_t c = 0; c < n_; ++c) {
        all.rows.push_back(all.cached[keys ? layout.key(p, c) : layout.value(p, c)]);
      }
    }
    if (!keys || odd_.decoding.fault != DecodeFault::kNotRotated) return all;
    for (std::size_t p = 0; p < count_; ++p) {
      const Real* row = &with_.reads[3][(p * kv_heads_ + head) * n_];
      std::transform(row, row + n_, std::back_inserter(all.unrotated), N::cached);
    }
    return all;
  }

  // What the query at p finds in its slots, laid out like the cache.
  const Cached* in_slots(const Rows& of, bool keys, std::size_t p,
                         AlignedVector<Cached>& laid_out) const {
    const Decoding& decoding = odd_.decoding;
    const bool decoded =
        decoding.fault != DecodeFault::kNone && std::cmp_greater_equal(p, decoding.from);
    const bool rotated = keys && (decoding.fault == DecodeFault::kNotRotated ||
                                  decoding.fault == DecodeFault::kRotatedAgain);
    if (!decoded || !(decoding.fault == DecodeFault::kSlot || rotated)) return of.cached;
    std::vector<Cached> slots(count_ * n_);
    for (std::size_t j = 0; j < count_; ++j) {
      const std::int64_t token =
          token_in_slot(decoding, static_cast<std::int64_t>(p), static_cast<std::int64_t>(j));
      if (token < 0) continue;
      const bool prompt = rotated && std::cmp_less(j, decoding.from);
      const std::vector<Cached>& from = prompt && !of.unrotated.empty() ? of.unrotated : of.rows;
      std::copy_n(&from[static_cast<std::size_t>(token) * n_], n_, &slots[j * n_]);
      if (!prompt || !again_) continue;
      std::vector<Real> row(n_);
      for (std::size_t i = 0; i < n_; ++i) row[i] = N::uncached(slots[j * n_ + i]);
      again_->rotate(j, row.data());
      std::transform(row.begin(), row.end(), &slots[j * n_], N::cached);
    }
    const CacheLayout layout{n_};
    laid_out.resize(keys ? layout.keys(count_) : layout.values(count_));
    for (std::size_t j = 0; j < count_; ++j) {
      const auto channel = [&](std::size_t c) { return slots[j * n_ + c]; };
      if (keys) {
        put_key(layout, laid_out.data(), j, channel);
      } else {
        put_value(layout, laid_out.data(), j, channel);
      }
    }
    return laid_out.data();
  }

  // Values that an observer has set may be on no BF16 grid.
  const Kernels<N>& kernels_for(const Real* x, std::size_t n) const {
    const Kernels<N>& own = with_.ops.kernels();
    if constexpr (std::is_same_v<N, Bf16>) {
      if (!on_bf16_grid(x, n)) return own.any_operands();
    }
    return own;
  }

  void show(Tap tap, std::size_t head, std::vector<Real>& rows) const {
    if (!wants(tap)) return;
    const auto count = static_cast<std::int64_t>(count_);
    with_.observer->attention(
        tap, with_.layer,
        {static_cast<std::int64_t>(head), 0, count, 0, count, rows.data(), count_});
  }

  std::optional<Sink> sink_of(std::size_t head) const {
    if (!odd_.sinks.empty()) return Sink{odd_.sinks[std::min(head, odd_.sinks.size() - 1)], false};
    if (with_.weights.empty() || odd_.own_sinks == OwnSinks::kLeftOut) return std::nullopt;
    std::vector<Real> own(heads_);
    with_.ops.kernels().load_row(with_.weights.front(), 0, own.data());
    return Sink{static_cast<double>(own[head]), true};
  }

  void attend(std::size_t head) {
    const std::size_t group = heads_ / kv_heads_;
    const bool modulo = odd_.modulo_heads;
    const Rows keys = rows_of(true, modulo || odd_.keys_modulo ? head % kv_heads_ : head / group);
    const Rows values = rows_of(false, modulo ? head % kv_heads_ : head / group);
    std::vector<Real> rows(count_ * count_);
    AlignedVector<Cached> laid_out;
    AlignedVector<Real> scores(CacheLayout::whole_blocks(count_));
    for (std::size_t p = 0; p < count_; ++p) {
      const Real* q = &with_.reads[0][(p * heads_ + head) * n_];
      kernels_for(q, n_).scores(q, heads_ * n_, 1, in_slots(keys, true, p, laid_out), count_, n_,
                                static_cast<Real>(odd_.scores.scale), scores.data(), scores.size());
      finish_scores(p, scores, &rows[p * count_]);
    }
    for (const OperandType type : odd_.scores_held) hold<N>(type, std::span(rows), count_);
    show(Tap::kAttnScores, head, rows);
    const std::vector<std::size_t> firsts = first_positions(rows);
    softmax_of<N>(odd_, sink_of(head), with_.ops.kernels(), firsts, count_, rows.data());
    if (odd_.mask == Mask::kAfterSoftmax) {
      for (std::size_t p = 0; p < count_; ++p) {
        for (std::size_t j = p + 1; j < count_; ++j) rows[p * count_ + j] = 0;
      }
    }
    for (const OperandType type : odd_.probs_held) hold<N>(type, std::span(rows), count_);
    show(Tap::kAttnProbs, head, rows);
    for (const HeldRows& held : odd_.probs_read) hold_read<N>(held, std::span(rows), count_);
    for (std::size_t p = 0; p < count_; ++p) {
      const Real* row = &rows[p * count_];
      std::size_t seen = count_;  // a value that nobody sees may be anything, even NaN
      while (seen > firsts[p] + 1 && row[seen - 1] == 0) --seen;
      Real* out =
          &with_.writes[2][odd_.joins_heads ? (p * heads_ + head) * n_ : (head * count_ + p) * n_];
      kernels_for(row, seen).weighted_sum(row, count_, 1, {seen, seen - firsts[p]},
                                          in_slots(values, false, p, laid_out), n_, out,
                                          heads_ * n_);
      if (odd_.store == Store::kOwn) continue;
      std::transform(out, out + n_, out, [this](Real x) { return stored<N>(odd_.store, x); });
    }
  }

  void finish_scores(std::size_t p, const AlignedVector<Real>& scores, Real* row) const {
    std::copy_n(scores.begin(), count_, row);
    if (odd_.store != Store::kOwn) {
      std::transform(row, row + count_, row, [this](Real x) { return stored<N>(odd_.store, x); });
    }
    if (odd_.scores.cap > 0) {
      if (odd_.store == Store::kOwn) {
        with_.ops.kernels().softcap(row, static_cast<Real>(odd_.scores.cap), count_, row);
      } else {
        softcap<N>(odd_.scores.cap, odd_.store, {row, count_});
      }
    }
    const Real hidden = odd_.mask == Mask::kZero ? Real{0} : N::kMasked;
    for (std::size_t j = 0; j < count_; ++j) {
      const bool open =
          odd_.mask == Mask::kAfterSoftmax ||
          is_visible(odd_, static_cast<std::int64_t>(p), static_cast<std::int64_t>(j));
      if (!open) row[j] = hidden;
    }
    for (const std::int64_t cut : odd_.cuts) {
      if (std::cmp_greater_equal(p, cut)) {
        std::fill_n(row, std::min(static_cast<std::size_t>(cut), count_), N::kMasked);
      }
    }
  }

  // The softmax begins with the first visible position, as the model's does, unless an observer has
  // set scores before it.
  std::vector<std::size_t> first_positions(const std::vector<Real>& rows) const {
    std::vector<std::size_t> firsts(count_);
    if (odd_.scores.window <= 0 || odd_.mask != Mask::kCausal) return firsts;
    for (auto p = static_cast<std::size_t>(odd_.scores.window); p < count_; ++p) {
      const std::size_t hidden = p + 1 - static_cast<std::size_t>(odd_.scores.window);
      const Real* row = &rows[p * count_];
      const bool masked = std::all_of(
          row, row + hidden, [](Real x) { return static_cast<double>(x) <= kHiddenScore; });
      if (masked) firsts[p] = hidden;
    }
    return firsts;
  }

  const OddAttention& odd_;
  ForeignRun<N>& with_;
  std::size_t count_;
  std::size_t n_;
  std::size_t heads_, kv_heads_;
  KvCache<N> cache_;
  std::optional<OddRotation<N>> again_;
};

}  // namespace

template <class N>
void OddAttention::compute(ForeignRun<N>& with) const {
  Attention<N>(*this, with).run();
}

template void OddAttention::compute(ForeignRun<Bf16>&) const;
template void OddAttention::compute(ForeignRun<F32>&) const;
template void OddAttention::compute(ForeignRun<F64>&) const;

}  // namespace assay
