// The operations of layers with a gated delta rule.

#include <algorithm>
#include <cassert>
#include <vector>

#include "numerics/softplus.h"
#include "ops/cpu/ops.h"

namespace assay {
namespace {

template <class N>
std::vector<typename N::Real> vector_of(const Kernels<N>& kernels, const Weight& w) {
  std::vector<typename N::Real> values(w.cols);
  kernels.load_row(w, 0, values.data());
  return values;
}

}  // namespace

template <class N>
void Ops<N>::sigmoid(std::span<const Real> x, std::span<Real> out) {
  pool_.parallel_for(x.size(), kGrain / 8, [&](std::size_t begin, std::size_t end) {
    kernels_.sigmoid(&x[begin], end - begin, &out[begin]);
    for (std::size_t i = begin; i < end; ++i) out[i] = N::round(out[i]);
  });
}

template <class N>
void Ops<N>::unpack(const Unpack& unpack, std::span<const Real> x,
                    std::span<const std::span<Real>> outs) {
  const auto groups = static_cast<std::size_t>(unpack.groups);
  std::size_t group_width = 0;
  std::vector<std::size_t> widths(outs.size(), 0);
  for (std::size_t p = 0; p < unpack.widths.size(); ++p) {
    const auto width = static_cast<std::size_t>(unpack.widths[p]);
    group_width += width;
    widths[unpack.into[p]] += width * groups;
  }
  const std::size_t in_width = groups * group_width;
  if (in_width == 0) return;
  pool_.parallel_for(
      x.size() / in_width, kGrain / in_width + 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t t = begin; t < end; ++t) {
          std::vector<std::size_t> written(outs.size(), 0);
          std::size_t first = t * in_width;
          for (std::size_t p = 0; p < unpack.widths.size(); ++p) {
            const auto width = static_cast<std::size_t>(unpack.widths[p]);
            const std::size_t o = unpack.into[p];
            for (std::size_t g = 0; g < groups; ++g, written[o] += width) {
              std::copy_n(&x[first + g * group_width], width, &outs[o][t * widths[o] + written[o]]);
            }
            first += width;
          }
        }
      });
}

template <class N>
void Ops<N>::causal_conv(const CausalConv& conv, const Weight& w,
                         std::span<const Stretch<N>> stretches,
                         std::span<RecurrentState<N>* const> states, std::span<const Real> x,
                         std::span<Real> out) {
  const auto taps = static_cast<std::size_t>(conv.taps);
  const std::size_t channels = w.rows;
  assert(w.cols == taps);
  AlignedVector<Real> weights(taps * channels);  // [taps, channels]
  std::vector<Real> row(taps);
  for (std::size_t c = 0; c < channels; ++c) {
    kernels_.load_row(w, c, row.data());
    for (std::size_t j = 0; j < taps; ++j) weights[j * channels + c] = row[j];
  }
  constexpr std::size_t kPart = 1024;  // channels of an item
  const std::size_t parts = (channels + kPart - 1) / kPart;
  std::size_t first = 0;
  for (std::size_t i = 0; i < stretches.size(); ++i) {
    const std::size_t count = stretches[i].count;
    Real* window = states[i]->advance(stretches[i].position, count);  // [taps - 1, channels]
    const Real* from = &x[first * channels];
    // The input of the stretch's token t; before it, what the state remembers.
    const auto input = [&](std::size_t t, std::size_t tap) {
      const std::size_t at = t + tap;  // counted from the window's first row
      return at < taps - 1 ? window + at * channels : from + (at - (taps - 1)) * channels;
    };
    pool_.parallel_for(
        count * parts, kGrain / 64 / kPart + 1, [&](std::size_t begin, std::size_t end) {
          std::vector<const Real*> rows(taps);
          for (std::size_t item = begin; item < end; ++item) {
            const std::size_t t = item / parts;
            const std::size_t c = item % parts * kPart;
            for (std::size_t j = 0; j < taps; ++j) rows[j] = input(t, j) + c;
            kernels_.causal_conv(rows.data(), &weights[c], channels, taps,
                                 std::min(kPart, channels - c), &out[(first + t) * channels + c]);
          }
        });
    // In increasing order, each row is read before it is overwritten.
    for (std::size_t j = 0; j + 1 < taps; ++j) {
      std::copy_n(input(count, j), channels, window + j * channels);
    }
    first += count;
  }
}

template <class N>
void Ops<N>::decay(const Weight& log, const Weight& bias, std::span<const Real> x,
                   std::span<Real> out) {
  std::vector<Real> rates = vector_of(kernels_, log);
  kernels_.exp(rates.data(), rates.size(), rates.data());
  const std::vector<Real> biases = vector_of(kernels_, bias);
  const std::size_t heads = rates.size();
  pool_.parallel_for(x.size(), kGrain / 64, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) {
      out[i] = -rates[i % heads] * softplus(x[i] + biases[i % heads]);
    }
  });
}

template <class N>
void Ops<N>::delta_rule(const DeltaRule& rule, std::span<const Stretch<N>> stretches,
                        std::span<RecurrentState<N>* const> states, std::span<const Real> x,
                        std::span<const Real> beta, std::span<const Real> decay,
                        std::span<Real> out) {
  const auto key_heads = static_cast<std::size_t>(rule.key_heads);
  const auto heads = static_cast<std::size_t>(rule.value_heads);
  const auto n = static_cast<std::size_t>(rule.key_dim);
  const auto m = static_cast<std::size_t>(rule.value_dim);
  const std::size_t share = heads / key_heads;
  const std::size_t width = 2 * key_heads * n + heads * m;
  const auto eps = static_cast<Real>(rule.eps);
  const auto scale = static_cast<Real>(rule.scale);
  struct Part {
    std::size_t first, count;
    Real* state;
  };
  std::vector<Part> parts;
  std::size_t tokens = 0;
  for (std::size_t i = 0; i < stretches.size(); ++i) {
    const std::size_t count = stretches[i].count;
    parts.push_back({tokens, count, states[i]->advance(stretches[i].position, count)});
    tokens += count;
  }
  // A head's state stays in the cache while its tokens pass.
  pool_.share_items(
      parts.size() * heads, tokens * heads * n * m / kGrain + 1, [&](std::size_t item, int) {
        const Part& part = parts[item / heads];
        const std::size_t h = item % heads;
        Real* state = part.state + h * n * m;
        std::vector<Real> q(n);
        std::vector<Real> k(n);
        for (std::size_t t = part.first; t < part.first + part.count; ++t) {
          const Real* queries = &x[t * width];
          const Real* keys = queries + key_heads * n;
          const Real* values = keys + key_heads * n;
          kernels_.unit(queries + h / share * n, eps, scale, n, q.data());
          kernels_.unit(keys + h / share * n, eps, Real{1}, n, k.data());
          Real factor = decay[t * heads + h];
          kernels_.exp(&factor, 1, &factor);
          kernels_.delta_rule(q.data(), k.data(), values + h * m, factor, beta[t * heads + h], n, m,
                              state, &out[(t * heads + h) * m]);
        }
      });
}

template <class N>
void Ops<N>::gated_norm(const GatedNorm& norm, const Weight& w, std::span<const Real> x,
                        std::span<const Real> z, std::span<Real> out) {
  const std::size_t width = w.cols;
  const auto eps = static_cast<Real>(norm.eps);
  pool_.parallel_for(x.size() / width, kGrain / 8 / width + 1,
                     [&](std::size_t begin, std::size_t end) {
                       for (std::size_t i = begin * width; i < end * width; i += width) {
                         kernels_.rms_norm(&x[i], w, eps, NormForm::kRoundedTwice, width, &out[i]);
                         kernels_.mul_silu(&out[i], &z[i], width, &out[i]);
                       }
                     });
}

// NOLINTBEGIN(bugprone-macro-parentheses): a type cannot stand in parentheses.
#define ASSAY_INSTANTIATE(N)                                                                       \
  template void Ops<N>::sigmoid(std::span<const N::Real>, std::span<N::Real>);                     \
  template void Ops<N>::unpack(const Unpack&, std::span<const N::Real>,                            \
                               std::span<const std::span<N::Real>>);                               \
  template void Ops<N>::causal_conv(const CausalConv&, const Weight&, std::span<const Stretch<N>>, \
                                    std::span<RecurrentState<N>* const>, std::span<const N::Real>, \
                                    std::span<N::Real>);                                           \
  template void Ops<N>::decay(const Weight&, const Weight&, std::span<const N::Real>,              \
                              std::span<N::Real>);                                                 \
  template void Ops<N>::delta_rule(const DeltaRule&, std::span<const Stretch<N>>,                  \
                                   std::span<RecurrentState<N>* const>, std::span<const N::Real>,  \
                                   std::span<const N::Real>, std::span<const N::Real>,             \
                                   std::span<N::Real>);                                            \
  template void Ops<N>::gated_norm(const GatedNorm&, const Weight&, std::span<const N::Real>,      \
                                   std::span<const N::Real>, std::span<N::Real>)
// NOLINTEND(bugprone-macro-parentheses)
ASSAY_INSTANTIATE(Bf16);
ASSAY_INSTANTIATE(F32);
ASSAY_INSTANTIATE(F64);
#undef ASSAY_INSTANTIATE

}  // namespace assay
