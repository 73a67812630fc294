// What the forward pass does where its spec asks for something that no kernel does: plain, whole
// rows at a time, for assay diagnose.
#include <algorithm>
#include <cassert>
#include <cmath>

#include "model/forward.h"
#include "model/variant_ops.h"
#include "numerics/noise.h"

namespace assay {

template <class N>
void ForwardPass<N>::store(Real* values, std::size_t count) {
  std::transform(values, values + count, values,
                 [this](Real x) { return stored<N>(spec_.store, x); });
}

template <class N>
void ForwardPass<N>::store(std::initializer_list<Projection> projections, std::size_t rows) {
  if (spec_.store == Store::kOwn) return;
  for (const Projection& p : projections) store(p.out, rows * p.ldo);
}

template <class N>
void ForwardPass<N>::variant_norm(const NormSpec& norm, std::span<const Real> x, const Weight& w,
                                  std::span<Real> out, std::size_t heads, std::size_t parts) {
  std::vector<Real> weights(w.cols);
  kernels_.load_row(w, 0, weights.data());
  const std::size_t n = w.cols * heads / parts;
  const std::span<const Real> all = weights;
  for (std::size_t i = 0; i < x.size(); i += n) {
    const std::size_t part = i / n % parts;
    variant_rms_norm<N>(norm, spec_.store, spec_.rms_norm_eps,
                        all.subspan(part * (w.cols / parts), w.cols / parts), &x[i], n, &out[i]);
  }
}

template <class N>
void ForwardPass<N>::scale_embedding() {
  if (spec_.embedding.scale != 1) {
    const auto exact = static_cast<Real>(spec_.embedding.scale);
    const Real scale = spec_.embedding.scale_rounded ? stored<N>(spec_.store, exact) : exact;
    for (Real& x : act_.hidden) x = stored<N>(spec_.store, x * scale);
  }
  if (spec_.store != Store::kOwn) store(act_.hidden.data(), act_.hidden.size());
}

template <class N>
void ForwardPass<N>::finish_logits(std::span<Real> logits) {
  const HeadSpec& head = spec_.head;
  if (spec_.store != Store::kOwn) store(logits.data(), logits.size());
  if (head.scale != 1) {
    for (Real& x : logits) {
      x = stored<N>(spec_.store, static_cast<Real>(static_cast<double>(x) * head.scale));
    }
  }
  if (head.softcap <= 0) return;
  if (spec_.store != Store::kOwn) {
    return softcap<N>(head.softcap, spec_.store, {logits.data(), logits.size()});
  }
  pool_.parallel_for(logits.size(), kGrain / 8, [&](std::size_t begin, std::size_t end) {
    kernels_.softcap(&logits[begin], static_cast<Real>(head.softcap), end - begin, &logits[begin]);
  });
}

// Where somebody takes part in it, or it is not the causal attention of the kernels.
template <class N>
bool ForwardPass<N>::attends_in_full() const {
  return !is_plain(spec_.attention) || spec_.store != Store::kOwn ||
         chunks_.front().exchange != nullptr;
}

// One query head of a whole sequence.
template <class N>
struct ForwardPass<N>::Head {
  std::int64_t layer;
  std::size_t index;
  // As the cache holds them, and from its layout undone: [positions, head_dim].
  const typename N::Cached* keys;
  const typename N::Cached* values;
  std::vector<typename N::Cached> key_rows, value_rows;
  std::vector<typename N::Cached> unrotated;  // keys
};

template <class N>
void ForwardPass<N>::attention_in_full(std::int64_t l) {
  assert(chunks_.size() == 1 && chunks_.front().cache->length() == 0);
  const AttentionSpec& attention = spec_.attention;
  KvCache<N>& cache = *chunks_.front().cache;
  const auto heads = static_cast<std::size_t>(spec_.num_attention_heads);
  const auto kv_heads = static_cast<std::size_t>(spec_.num_key_value_heads);
  const auto head_dim = static_cast<std::size_t>(spec_.head_dim);
  const std::size_t group = heads / kv_heads;
  const auto layer = static_cast<std::size_t>(l);
  const CacheLayout layout = cache.layout();
  if (attention.cache != DType::kF32) {
    for (std::size_t h = 0; h < kv_heads; ++h) {
      for (std::size_t p = 0; p < tokens_.size(); ++p) {
        const std::size_t row = (p * kv_heads + h) * head_dim;
        for (const std::span<Real> x : {act_.k, act_.v}) {
          through_cache<N>(attention.cache, x.subspan(row, head_dim));
        }
        cache.put(layer, h, p, &act_.k[row], &act_.v[row]);
      }
    }
  }
  pool_.for_each_item(heads, [&](std::size_t h) {
    const std::size_t of_keys =
        attention.modulo_heads || attention.keys_modulo ? h % kv_heads : h / group;
    const std::size_t of_values = attention.modulo_heads ? h % kv_heads : h / group;
    Head head{l, h, cache.keys(layer, of_keys), cache.values(layer, of_values), {}, {}, {}};
    if (attention.decode.fault != DecodeFault::kNone) {
      for (std::size_t p = 0; p < tokens_.size(); ++p) {
        for (std::size_t c = 0; c < head_dim; ++c) {
          head.key_rows.push_back(head.keys[layout.key(p, c)]);
          head.value_rows.push_back(head.values[layout.value(p, c)]);
        }
      }
    }
    if (attention.decode.fault == DecodeFault::kNotRotated) {
      for (std::size_t t = 0; t < tokens_.size(); ++t) {
        const Real* row = &act_.unrotated[(t * kv_heads + of_keys) * head_dim];
        std::transform(row, row + head_dim, std::back_inserter(head.unrotated), N::cached);
      }
    }
    attend(head);
  });
}

namespace {

// Which of the sequence's tokens the query at p finds in slot j; -1: a slot nobody has written.
std::int64_t token_in_slot(const DecodeSpec& decode, std::int64_t p, std::int64_t j) {
  if (decode.fault != DecodeFault::kSlot || p < decode.from) return j;
  const std::int64_t decoded = j - decode.amount;
  if (decoded >= decode.from) return decoded <= p ? decoded : -1;
  return j < decode.from ? j : -1;
}

// window: of the layer; 0: none.
bool is_visible(const AttentionSpec& attention, std::int64_t window, std::int64_t p,
                std::int64_t j) {
  const DecodeSpec& decode = attention.decode;
  if (decode.fault != DecodeFault::kNone && p >= decode.from) {
    if (decode.fault == DecodeFault::kAlone) return j == p;
    if (decode.fault == DecodeFault::kFirstOnly) return j == 0;
    if (decode.fault == DecodeFault::kNotItself) return j < p;
  }
  if (attention.mask == Mask::kNone) return true;
  if (window > 0 && j <= p - window) return false;
  return j <= p + attention.mask_offset;
}

}  // namespace

// As attention(), but every row in full: what is hidden is masked, not left out. The same bits,
// because what is left out there adds zeros here.
template <class N>
void ForwardPass<N>::attend(const Head& head) {
  using Cached = typename N::Cached;
  const AttentionSpec& attention = spec_.attention;
  const std::size_t count = tokens_.size();
  const auto n = static_cast<std::size_t>(spec_.head_dim);
  const auto heads = static_cast<std::size_t>(spec_.num_attention_heads);
  const std::int64_t window = spec_.is_sliding(head.layer) ? attention.window : 0;
  Chunk<N> chunk = chunks_.front();

  // What the query at p finds in its slots.
  std::vector<Cached> slots;
  AlignedVector<Cached> laid_out;
  const CacheLayout layout{n};
  const auto in_slots = [&](std::size_t p, bool keys) {
    const DecodeSpec& decode = attention.decode;
    const bool decoded =
        decode.fault != DecodeFault::kNone && std::cmp_greater_equal(p, decode.from);
    const bool slot = decode.fault == DecodeFault::kSlot;
    const bool rotated = keys && (decode.fault == DecodeFault::kNotRotated ||
                                  decode.fault == DecodeFault::kRotatedAgain);
    if (!decoded || !(slot || rotated)) return keys ? head.keys : head.values;
    const Cached* rows = keys ? head.key_rows.data() : head.value_rows.data();
    slots.assign(count * n, Cached{0});
    for (std::size_t j = 0; j < count; ++j) {
      const std::int64_t token =
          token_in_slot(decode, static_cast<std::int64_t>(p), static_cast<std::int64_t>(j));
      if (token < 0) continue;
      const bool again = rotated && std::cmp_less(j, decode.from);
      const Cached* from = again && !head.unrotated.empty() ? head.unrotated.data() : rows;
      std::copy_n(from + static_cast<std::size_t>(token) * n, n, &slots[j * n]);
      if (!again || decode.fault != DecodeFault::kRotatedAgain) continue;
      std::vector<Real> row(n);
      for (std::size_t i = 0; i < n; ++i) row[i] = N::uncached(slots[j * n + i]);
      const Rotation& rotation = rotation_of(head.layer);
      const auto dims = static_cast<std::size_t>(spec_.rotary_dims());
      variant_rope<N>(spec_.rope, spec_.store, &rotation.cos[j * (dims / 2)],
                      &rotation.sin[j * (dims / 2)], dims, row.data());
      std::transform(row.begin(), row.end(), &slots[j * n], N::cached);
    }
    laid_out.resize(keys ? layout.keys(count) : layout.values(count));
    for (std::size_t j = 0; j < count; ++j) {
      const auto channel = [&](std::size_t c) { return slots[j * n + c]; };
      if (keys) {
        put_key(layout, laid_out.data(), j, channel);
      } else {
        put_value(layout, laid_out.data(), j, channel);
      }
    }
    return static_cast<const Cached*>(laid_out.data());
  };

  std::vector<Real> rows(count * count);
  AlignedVector<Real> scores(CacheLayout::whole_blocks(count));
  for (std::size_t p = 0; p < count; ++p) {
    Real* row = &rows[p * count];
    const Real* q = &act_.q[(p * heads + head.index) * n];
    kernels_for(q, n).scores(q, heads * n, 1, in_slots(p, true), count, n,
                             static_cast<Real>(spec_.attention_scale()), scores.data(),
                             scores.size());
    std::copy_n(scores.begin(), count, row);
    if (spec_.store != Store::kOwn) store(row, count);
    if (attention.softcap > 0) {
      if (spec_.store == Store::kOwn) {
        kernels_.softcap(row, static_cast<Real>(attention.softcap), count, row);
      } else {
        softcap<N>(attention.softcap, spec_.store, {row, count});
      }
    }
    const Real hidden = attention.mask == Mask::kZero ? Real{0} : N::kMasked;
    for (std::size_t j = 0; j < count; ++j) {
      const bool open =
          attention.mask == Mask::kAfterSoftmax ||
          is_visible(attention, window, static_cast<std::int64_t>(p), static_cast<std::int64_t>(j));
      if (!open) row[j] = hidden;
    }
  }
  const auto look = [&](Tap tap) {
    if (chunk.exchange != nullptr) {
      chunk.exchange->attention(tap, head.layer, head.index, count, count, rows.data());
    }
  };
  look(Tap::kAttnScores);
  // The softmax begins with the first position that is seen, as attention()'s does; unless an
  // exchange has put scores before it.
  std::vector<std::size_t> firsts(count);
  if (window > 0 && attention.mask == Mask::kCausal) {
    for (std::size_t p = static_cast<std::size_t>(window); p < count; ++p) {
      const std::size_t hidden = p + 1 - static_cast<std::size_t>(window);
      const Real* row = &rows[p * count];
      const bool masked = std::all_of(
          row, row + hidden, [](Real x) { return static_cast<double>(x) <= kHiddenScore; });
      if (masked) firsts[p] = hidden;
    }
  }
  variant_softmax<N>(attention, spec_.store, kernels_, firsts, count, rows.data());
  if (attention.mask == Mask::kAfterSoftmax) {
    for (std::size_t p = 0; p < count; ++p) {
      for (std::size_t j = p + 1; j < count; ++j) rows[p * count + j] = 0;
    }
  }
  look(Tap::kAttnProbs);
  if (chunk.exchange != nullptr) {
    chunk.exchange->operand(Operand::kProbs, head.layer, count, count, rows.data());
  }
  for (std::size_t p = 0; p < count; ++p) {
    const Real* row = &rows[p * count];
    std::size_t seen = count;  // a value that nobody looks at may be anything, even NaN
    while (seen > firsts[p] + 1 && row[seen - 1] == 0) --seen;
    const std::size_t at =
        attention.joins_heads ? (p * heads + head.index) * n : (head.index * count + p) * n;
    kernels_for(row, seen).weighted_sum(row, count, 1, {seen, seen - firsts[p]}, in_slots(p, false),
                                        n, &act_.context[at], heads * n);
    if (spec_.store != Store::kOwn) store(&act_.context[at], n);
  }
}

#define ASSAY_INSTANTIATE(N)                                                              \
  template void ForwardPass<N>::store(std::initializer_list<Projection>, std::size_t);    \
  template void ForwardPass<N>::store(Real*, std::size_t);                                \
  template void ForwardPass<N>::variant_norm(const NormSpec&, std::span<const Real>,      \
                                             const Weight&, std::span<Real>, std::size_t, \
                                             std::size_t);                                \
  template void ForwardPass<N>::scale_embedding();                                        \
  template void ForwardPass<N>::finish_logits(std::span<Real>);                           \
  template bool ForwardPass<N>::attends_in_full() const;                                  \
  template void ForwardPass<N>::attention_in_full(std::int64_t)
ASSAY_INSTANTIATE(Bf16);
ASSAY_INSTANTIATE(F32);
ASSAY_INSTANTIATE(F64);
#undef ASSAY_INSTANTIATE

}  // namespace assay
