#include "rewrite/delta_net.h"

#include <cmath>
#include <span>
#include <vector>

#include "numerics/softplus.h"
#include "rewrite/foreign_of.h"
#include "rewrite/sleef_functions.h"
#include "rewrite/store.h"

namespace assay {
namespace {

template <class N>
std::vector<typename N::Real> row_of(const ForeignRun<N>& with, const Weight& w, std::size_t row) {
  std::vector<typename N::Real> values(w.cols);
  with.ops.kernels().load_row(w, row, values.data());
  return values;
}

template <class Real>
Real logistic(Real x) {
  return static_cast<Real>(1 / (1 + exponential(-static_cast<double>(x))));
}

}  // namespace

template <class N>
void OddConv::compute(ForeignRun<N>& with) const {
  using Real = typename N::Real;
  const Weight& w = with.weights[0];
  const std::size_t channels = w.rows;
  const auto taps = static_cast<std::int64_t>(w.cols);
  const auto tokens = static_cast<std::int64_t>(with.tokens);
  for (std::size_t c = 0; c < channels; ++c) {
    const std::vector<Real> weights = row_of(with, w, c);
    const auto at = [channels, c](std::int64_t t) {
      return static_cast<std::size_t>(t) * channels + c;
    };
    for (std::int64_t t = 0; t < tokens; ++t) {
      Real sum = 0;
      for (std::int64_t j = 0; j < taps; ++j) {
        const std::int64_t from = t - late - taps + 1 + j;
        if (from < 0 || from >= tokens) continue;
        const bool remembered = decoding > 0 && t >= decoding && from < t;
        if (remembered && forgets) continue;
        const Real x =
            remembered && keeps_outputs ? with.writes[0][at(from)] : with.reads[0][at(from)];
        sum = sum + weights[static_cast<std::size_t>(flipped ? taps - 1 - j : j)] * x;
      }
      sum = N::round(sum);
      with.writes[0][at(t)] = activates ? N::round(sum * logistic(sum)) : sum;
    }
  }
}

template <class N>
void OddDecay::compute(ForeignRun<N>& with) const {
  using Real = typename N::Real;
  const std::vector<Real> logs = row_of(with, with.weights[0], 0);
  const std::vector<Real> biases = row_of(with, with.weights[1], 0);
  for (std::size_t i = 0; i < with.reads[0].size(); ++i) {
    const std::size_t h = i % logs.size();
    const Real x = with.reads[0][i] + (biased ? biases[h] : Real{0});
    const Real rate = log_as_is ? logs[h] : static_cast<Real>(exponential(logs[h]));
    const Real decay = rate * (softplus ? assay::softplus(x) : x);
    with.writes[0][i] = positive ? decay : -decay;
    if (rounded) with.writes[0][i] = N::round(with.writes[0][i]);
  }
}

template <class N>
void OddDeltaRule::compute(ForeignRun<N>& with) const {
  using Real = typename N::Real;
  const auto key_heads = static_cast<std::size_t>(rule.key_heads);
  const auto heads = static_cast<std::size_t>(rule.value_heads);
  const auto n = static_cast<std::size_t>(rule.key_dim);
  const auto m = static_cast<std::size_t>(rule.value_dim);
  const std::size_t width = 2 * key_heads * n + heads * m;
  const auto kept = [this](Real x) {
    return state_bf16 ? static_cast<Real>(rounded_to(DType::kBF16, x)) : x;
  };
  with.ops.pool().for_each_item(heads, [&](std::size_t h) {
    const std::size_t key_head = tiled ? h % key_heads : h / (heads / key_heads);
    std::vector<Real> state(n * m, Real{0});
    std::vector<Real> q(n);
    std::vector<Real> k(n);
    for (std::size_t t = 0; t < with.tokens; ++t) {
      if (forgets_at > 0 && static_cast<std::int64_t>(t) == forgets_at) {
        std::fill(state.begin(), state.end(), Real{0});
      }
      const Real* queries = &with.reads[0][t * width] + key_head * n;
      const Real* keys = queries + key_heads * n;
      const Real* values = &with.reads[0][t * width] + 2 * key_heads * n + h * m;
      const auto read = [&](const Real* x, bool unit, double scale, std::vector<Real>& to) {
        double squares = 0;
        for (std::size_t i = 0; i < n; ++i) squares += static_cast<double>(x[i]) * x[i];
        const double r = unit ? scale / std::sqrt(squares + rule.eps) : scale;
        for (std::size_t i = 0; i < n; ++i) to[i] = static_cast<Real>(x[i] * r);
      };
      read(queries, unit_queries, rule.scale, q);
      read(keys, unit_keys, 1, k);
      const auto factor = static_cast<Real>(exponential(with.reads[2][t * heads + h]));
      const Real beta = with.reads[1][t * heads + h];
      for (std::size_t c = 0; c < m; ++c) {
        Real known = 0;
        for (std::size_t i = 0; i < n; ++i) {
          Real& s = state[i * m + c];
          if (!decays_late) s = s * factor;
          known = known + s * k[i];
        }
        const Real d = beta * (subtracts ? values[c] - known : values[c]);
        Real sum = 0;
        for (std::size_t i = 0; i < n; ++i) {
          Real& s = state[i * m + c];
          s = s + k[i] * d;
          if (decays_late) s = s * factor;
          s = kept(s);
          sum = sum + s * q[i];
        }
        with.writes[0][(t * heads + h) * m + c] = N::round(sum);
      }
    }
  });
}

template <class N>
void OddGatedNorm::compute(ForeignRun<N>& with) const {
  using Real = typename N::Real;
  const std::vector<Real> weights = row_of(with, with.weights[0], 0);
  const std::size_t width = weights.size();
  std::vector<Real> x(width);
  for (std::size_t first = 0; first < with.reads[0].size(); first += width) {
    const auto gated = [&](Real value, std::size_t i) {
      const Real z = with.reads[1][first + i];
      if (by == By::kNothing) return value;
      return N::round(value * (by == By::kSilu ? z * logistic(z) : logistic(z)));
    };
    double squares = 0;
    for (std::size_t i = 0; i < width; ++i) {
      x[i] = with.reads[0][first + i];
      if (gate_first) x[i] = gated(x[i], i);
      squares += static_cast<double>(x[i]) * x[i];
    }
    const auto r =
        static_cast<Real>(1 / std::sqrt(squares / static_cast<double>(width) + norm.eps));
    for (std::size_t i = 0; i < width; ++i) {
      const Real weight = one_plus ? Real{1} + weights[i] : weights[i];
      const Real normed = N::round(weight * N::round(x[i] * r));
      with.writes[0][first + i] = gate_first ? normed : gated(normed, i);
    }
  }
}

std::optional<OddConv> OddConv::of(const Operation& operation) {
  if (const auto* plain = std::get_if<CausalConv>(&operation)) return OddConv{*plain};
  if (const auto* odd = foreign_as<OddConv>(operation)) return *odd;
  return std::nullopt;
}
Operation OddConv::operation() const {
  if (*this == OddConv{conv}) return conv;
  return foreign(*this);
}

std::optional<OddDecay> OddDecay::of(const Operation& operation) {
  if (std::holds_alternative<Decay>(operation)) return OddDecay{};
  if (const auto* odd = foreign_as<OddDecay>(operation)) return *odd;
  return std::nullopt;
}
Operation OddDecay::operation() const {
  if (*this == OddDecay{}) return Decay{};
  return foreign(*this);
}

std::optional<OddDeltaRule> OddDeltaRule::of(const Operation& operation) {
  if (const auto* plain = std::get_if<DeltaRule>(&operation)) return OddDeltaRule{*plain};
  if (const auto* odd = foreign_as<OddDeltaRule>(operation)) return *odd;
  return std::nullopt;
}
Operation OddDeltaRule::operation() const {
  if (*this == OddDeltaRule{rule}) return rule;
  return foreign(*this);
}

std::optional<OddGatedNorm> OddGatedNorm::of(const Operation& operation) {
  if (const auto* plain = std::get_if<GatedNorm>(&operation)) return OddGatedNorm{*plain};
  if (const auto* odd = foreign_as<OddGatedNorm>(operation)) return *odd;
  return std::nullopt;
}
Operation OddGatedNorm::operation() const {
  if (*this == OddGatedNorm{norm}) return norm;
  return foreign(*this);
}

#define ASSAY_INSTANTIATE(N)                                 \
  template void OddConv::compute(ForeignRun<N>&) const;      \
  template void OddDecay::compute(ForeignRun<N>&) const;     \
  template void OddDeltaRule::compute(ForeignRun<N>&) const; \
  template void OddGatedNorm::compute(ForeignRun<N>&) const
ASSAY_INSTANTIATE(Bf16);
ASSAY_INSTANTIATE(F32);
ASSAY_INSTANTIATE(F64);
#undef ASSAY_INSTANTIATE

}  // namespace assay
