#include "rewrite/gate.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "rewrite/foreign_of.h"
#include "rewrite/sleef_functions.h"

namespace assay {
namespace {

double value_of(Function function, double x) {
  switch (function) {
    case Function::kSilu:
      return x / (1 + exponential(-x));
    case Function::kGelu:
      return x * 0.5 * (1 + error_function(x * 0.70710678118654752440));
    case Function::kGeluTanh: {
      constexpr double kRoot = 0.79788456080286535588;  // sqrt(2 / pi)
      return 0.5 * x * (1 + tangent(kRoot * (x + 0.044715 * x * x * x)));
    }
    case Function::kQuickGelu:
      return x / (1 + exponential(-1.702 * x));
    case Function::kRelu:
      return std::max(x, 0.0);
    case Function::kRelu2:
      return std::max(x, 0.0) * std::max(x, 0.0);
    case Function::kSigmoid:
      return 1 / (1 + exponential(-x));
    case Function::kTanh:
      return tangent(x);
    case Function::kHardSwish:
      return x * std::clamp(x / 6 + 0.5, 0.0, 1.0);
    case Function::kNone:
      return x;
  }
  return x;
}

}  // namespace

template <class N>
void OddGate::compute(ForeignRun<N>& with) const {
  using Real = typename N::Real;
  const std::span<const Real> gate = with.reads[0];
  const std::span<const Real> up = with.reads[1];
  const std::span<Real> out = with.writes[0];
  if (within) {
    std::vector<Real> held(gate.begin(), gate.end());
    const auto hold = [&] {
      round_operand(*within, std::span(held), held.size());
      std::ranges::transform(held, held.begin(), [](Real x) { return N::round(x); });
    };
    hold();
    std::ranges::transform(held, held.begin(),
                           [this](Real x) { return static_cast<Real>(value_of(function, x)); });
    hold();
    std::ranges::transform(held, up, out.begin(), [](Real g, Real u) { return N::round(g * u); });
    return;
  }
  const auto f = [this](Real x) {
    return stored<N>(store, static_cast<Real>(value_of(function, x)));
  };
  for (std::size_t i = 0; i < out.size(); ++i) {
    switch (on) {
      case On::kGate:
        out[i] = stored<N>(store, f(gate[i]) * up[i]);
        break;
      case On::kUp:
        out[i] = stored<N>(store, f(up[i]) * gate[i]);
        break;
      case On::kProduct:
        out[i] = f(stored<N>(store, gate[i] * up[i]));
        break;
    }
  }
}

std::optional<OddGate> OddGate::of(const Operation& operation) {
  if (const auto* plain = std::get_if<Gate>(&operation)) {
    if (plain->activation == Activation::kSwish) return std::nullopt;
    return OddGate{plain->activation == Activation::kSilu ? Function::kSilu : Function::kGeluTanh};
  }
  if (const auto* odd = foreign_as<OddGate>(operation)) return *odd;
  return std::nullopt;
}

Operation OddGate::operation() const {
  if (*this == OddGate{Function::kSilu}) return Gate{Activation::kSilu};
  if (*this == OddGate{Function::kGeluTanh}) return Gate{Activation::kGeluTanh};
  return foreign(*this);
}

// The roundings are those of Kernels::swish_mul.
template <class N>
void StoredSwish::compute(ForeignRun<N>& with) const {
  using Real = typename N::Real;
  const std::span<const Real> gates = with.reads[0];
  const std::span<const Real> ups = with.reads[1];
  const std::span<Real> out = with.writes[0];
  const auto store_it = [this](Real x) { return stored<N>(store, x); };
  const auto alpha = static_cast<Real>(gate.alpha);
  const Real limit = gate.limit > 0 ? store_it(static_cast<Real>(gate.limit))
                                    : std::numeric_limits<Real>::infinity();
  for (std::size_t i = 0; i < out.size(); ++i) {
    const Real g = std::min(gates[i], limit);
    const Real most = std::clamp(ups[i], -limit, limit);
    const Real u = gate.up_plus_one ? store_it(most + Real{1}) : most;
    const Real s = store_it(static_cast<Real>(1 / (1 + exponential(-store_it(g * alpha)))));
    out[i] = store_it(u * store_it(g * s));
  }
}

template void OddGate::compute(ForeignRun<Bf16>&) const;
template void OddGate::compute(ForeignRun<F32>&) const;
template void OddGate::compute(ForeignRun<F64>&) const;
template void StoredSwish::compute(ForeignRun<Bf16>&) const;
template void StoredSwish::compute(ForeignRun<F32>&) const;
template void StoredSwish::compute(ForeignRun<F64>&) const;

}  // namespace assay
