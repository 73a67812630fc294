#include "model/held_values.h"

#include "model/variant_ops.h"
#include "numerics/numerics.h"

namespace assay {
namespace {

using What = HeldValues::What;

}  // namespace

template <class Real>
void Holding<Real>::hold(OperandType type, std::span<Real> values, std::size_t width) const {
  if (type == OperandType::kOwn) return;
  round_operand(type, values, width);
  std::ranges::transform(values, values.begin(), round_);
}

template <class Real>
void Holding<Real>::operand(Operand operand, std::int64_t layer, std::size_t rows,
                            std::size_t width, Real* values) {
  for (const HeldValues& held : held_) {
    if (held.what != What::kOperand || held.operand != operand || !held.is_in(layer)) continue;
    hold(held.type, {values, rows * width}, width);
  }
}

template <class Real>
void Holding<Real>::hold_result(Tap tap, std::int64_t layer, std::size_t width,
                                std::span<Real> values) {
  for (const HeldValues& held : held_) {
    if (!held.is_in(layer)) continue;
    if (held.what == What::kActivation && tap == Tap::kMlpAct) {
      hold(held.type, gate_, gate_.size());
      std::vector<Real> ones(gate_.size(), Real{1});
      using Exact = std::conditional_t<std::is_same_v<Real, float>, F32, F64>;
      variant_activation<Exact>(spec_.mlp, Store::kOwn, gate_.data(), ones.data(), gate_.size(),
                                gate_.data());
      hold(held.type, gate_, gate_.size());
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = round_(gate_[i] * up_[i]);
    }
    if (held.what == What::kResult && held.result == tap) hold(held.type, values, width);
  }
}

template <class Real>
void Holding<Real>::keep_for_activation(Tap tap, std::span<const Real> values) {
  if (tap != Tap::kGateProj && tap != Tap::kUpProj) return;
  const bool wanted = std::ranges::any_of(
      held_, [](const HeldValues& held) { return held.what == What::kActivation; });
  if (wanted) (tap == Tap::kGateProj ? gate_ : up_).assign(values.begin(), values.end());
}

template <class Real>
bool Holding<Real>::holds_result(Tap tap) const {
  return std::ranges::any_of(held_, [tap](const HeldValues& held) {
    return held.what == What::kResult && held.result == tap;
  });
}

template class Holding<float>;
template class Holding<double>;

}  // namespace assay
