#include "diagnose/ops/operating.h"

#include <algorithm>
#include <cmath>

#include "model/variant_ops.h"
#include "numerics/operand_rounding.h"

namespace assay {
namespace {

constexpr bool is_of_stream(Tap tap) {
  return tap == Tap::kAttnResidual || tap == Tap::kLayerOutput || tap == Tap::kEmbeddingOutput;
}

// Lower than any score that is one.
constexpr double kHidden = -1e30;

}  // namespace

template <class N>
Operating<N>::Operating(const Hypothesis& hypothesis, Exchange<Real>& inner)
    : hypothesis_(hypothesis),
      operations_(hypothesis.operations),
      inner_(inner),
      scores_(static_cast<std::size_t>(hypothesis.spec.num_attention_heads)) {}

template <class N>
void Operating<N>::rows(Tap tap, std::int64_t layer, std::size_t tokens, std::size_t width,
                        Real* values) {
  const std::size_t count = tokens * width;
  if (tap == Tap::kQRope && rotates(layer)) rotate(layer, tokens, width, queries_, values);
  if (tap == Tap::kKRope && rotates(layer)) rotate(layer, tokens, width, keys_, values);
  if (is_of_stream(tap)) limit(tap, count, values);
  if (tap == Tap::kFinalNormOutput && operations_.final_norm_softcap > 0) {
    const double cap = operations_.final_norm_softcap;
    std::transform(values, values + count, values, [cap](Real x) {
      return N::round(static_cast<Real>(cap * std::tanh(static_cast<double>(x) / cap)));
    });
  }
  inner_.rows(tap, layer, tokens, width, values);
  if (!is_of_stream(tap)) limit(tap, count, values);
  // What the rotation reads is the last of these.
  if (!operations_.rotary) return;
  if (tap == Tap::kQProj || tap == Tap::kQNorm) queries_.assign(values, values + count);
  if (tap == Tap::kKProj || tap == Tap::kKNorm) keys_.assign(values, values + count);
}

template <class N>
void Operating<N>::attention(Tap tap, std::int64_t layer, std::size_t head, std::size_t queries,
                             std::size_t keys, Real* values) {
  if (tap == Tap::kAttnScores) {
    for (const std::int64_t cut : operations_.cuts) {
      const auto c = static_cast<std::size_t>(cut);
      for (std::size_t p = c; p < queries; ++p) {
        std::fill_n(&values[p * keys], std::min(c, keys), N::kMasked);
      }
    }
  }
  const std::vector<double>& sinks = operations_.sinks;
  if (tap == Tap::kAttnProbs && !sinks.empty()) {
    const double sink = sinks[std::min(head, sinks.size() - 1)];
    for (std::size_t p = 0; p < queries; ++p) {
      softmax_with_sink(sink, {&scores_[head][p * keys], keys}, &values[p * keys]);
    }
  }
  inner_.attention(tap, layer, head, queries, keys, values);
  if (tap == Tap::kAttnScores && !sinks.empty()) {
    scores_[head].assign(values, values + queries * keys);
  }
}

template <class N>
void Operating<N>::logits(std::size_t position, std::size_t first, std::size_t count,
                          const Real* values) {
  const auto in_block = [&](std::int64_t id) {
    return std::cmp_greater_equal(id, first) && std::cmp_less(id, first + count);
  };
  biased_.clear();
  for (const auto& [id, bias] : operations_.logit_bias) {
    if (!in_block(id)) continue;
    if (biased_.empty()) biased_.assign(values, values + count);
    Real& logit = biased_[static_cast<std::size_t>(id) - first];
    logit = stored<N>(hypothesis_.spec.store, static_cast<Real>(static_cast<double>(logit) + bias));
  }
  inner_.logits(position, first, count, biased_.empty() ? values : biased_.data());
}

template <class N>
void Operating<N>::operand(Operand operand, std::int64_t layer, std::size_t rows, std::size_t width,
                           Real* values) {
  inner_.operand(operand, layer, rows, width, values);
}

template <class N>
void Operating<N>::stream_into(std::int64_t layer, Real* hidden) {
  inner_.stream_into(layer, hidden);
}

template <class N>
bool Operating<N>::rotates(std::int64_t layer) const {
  const std::optional<Rotary>& rotary = operations_.rotary;
  return rotary && (rotary->layers.empty() || std::ranges::count(rotary->layers, layer) > 0);
}

template <class N>
const typename Operating<N>::Table& Operating<N>::table(std::int64_t layer, std::size_t tokens) {
  const ModelSpec& spec = hypothesis_.spec_of(layer);
  const RopeParameters& parameters = spec.rope_of(layer);
  Table& table = tables_[&parameters];
  if (!table.cos.empty()) return table;
  const Rotary& rotary = *operations_.rotary;
  const auto dims = static_cast<std::size_t>(spec.rotary_dims());
  RopeFrequencies<Real> frequencies = rope_frequencies<Real>(parameters, dims, tokens);
  for (std::size_t i = 0; i < rotary.inv_freq.size() && i < dims / 2; ++i) {
    frequencies.inv_freq[i] = static_cast<Real>(rotary.inv_freq[i]);
  }
  const auto rounded = [](DType to, Real x) { return static_cast<Real>(rounded_to(to, x)); };
  for (std::size_t t = 0; t < tokens; ++t) {
    const auto own = static_cast<std::int64_t>(t);
    const std::int64_t at =
        (t < rotary.position_of.size() ? rotary.position_of[t] : own) + spec.rope.offset;
    const Real position =
        rounded(rotary.positions, static_cast<Real>(at) / static_cast<Real>(spec.rope.factor));
    for (std::size_t i = 0; i < dims / 2; ++i) {
      const Real frequency = rounded(rotary.frequencies, frequencies.inv_freq[i]);
      const auto angle = static_cast<double>(rounded(rotary.angles, position * frequency));
      const auto held = [&](double value) {
        const Real x =
            rounded(rotary.table, static_cast<Real>(value) * frequencies.attention_factor);
        return spec.rope.rounded_once ? x : stored<N>(spec.store, x);
      };
      Real cos = held(std::cos(angle));
      Real sin = held(std::sin(angle));
      if (spec.rope.backwards) sin = -sin;
      if (spec.rope.exchanged) std::swap(cos, sin);
      table.cos.push_back(cos);
      table.sin.push_back(sin);
    }
  }
  return table;
}

template <class N>
void Operating<N>::rotate(std::int64_t layer, std::size_t tokens, std::size_t width,
                          const std::vector<Real>& from, Real* to) {
  const ModelSpec& spec = hypothesis_.spec_of(layer);
  const Table& by = table(layer, tokens);
  const auto head_dim = static_cast<std::size_t>(spec.head_dim);
  const auto dims = static_cast<std::size_t>(spec.rotary_dims());
  const DType type = operations_.rotary->products;
  std::copy(from.begin(), from.end(), to);
  for (std::size_t t = 0; t < tokens; ++t) {
    const Real* cos = &by.cos[t * (dims / 2)];
    const Real* sin = &by.sin[t * (dims / 2)];
    for (std::size_t h = 0; h < width / head_dim; ++h) {
      Real* x = to + t * width + h * head_dim;
      if (type == DType::kF32) {
        variant_rope<N>(spec.rope, spec.store, cos, sin, dims, x);
        continue;
      }
      const auto held = [&](Real value) { return static_cast<Real>(rounded_to(type, value)); };
      for (std::size_t i = 0; i < dims / 2; ++i) {
        const std::size_t a = spec.rope.interleaved ? 2 * i : i;
        const std::size_t b = spec.rope.interleaved ? 2 * i + 1 : i + dims / 2;
        const Real low = held(x[a]);
        const Real high = held(x[b]);
        x[a] = held(held(low * cos[i]) + held(-high * sin[i]));
        x[b] = held(held(high * cos[i]) + held(low * sin[i]));
      }
    }
  }
}

template <class N>
void Operating<N>::limit(Tap tap, std::size_t count, Real* values) const {
  for (const Limit& limit : operations_.limits) {
    if (limit.tap != tap) continue;
    const auto least = static_cast<Real>(limit.least);
    const auto most = static_cast<Real>(limit.most);
    std::transform(values, values + count, values,
                   [&](Real x) { return std::clamp(x, least, most); });
  }
}

template <class N>
void Operating<N>::softmax_with_sink(double sink, std::span<const Real> scores, Real* probs) const {
  double highest = sink;
  for (const Real s : scores) highest = std::max(highest, static_cast<double>(s));
  double sum = std::exp(sink - highest);
  for (const Real s : scores) {
    if (static_cast<double>(s) > kHidden) sum += std::exp(static_cast<double>(s) - highest);
  }
  for (std::size_t j = 0; j < scores.size(); ++j) {
    const auto score = static_cast<double>(scores[j]);
    const double p = score > kHidden ? std::exp(score - highest) / sum : 0;
    probs[j] = stored<N>(hypothesis_.spec.store, static_cast<Real>(p));
  }
}

template class Operating<Bf16>;
template class Operating<F32>;
template class Operating<F64>;

}  // namespace assay
