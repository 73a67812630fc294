#include "model/held_values.h"

#include <cmath>
#include <initializer_list>

#include "model/variant_ops.h"
#include "numerics/numerics.h"

namespace assay {
namespace {

using What = HeldValues::What;

std::vector<HeldValues> held_operands(std::initializer_list<Operand> operands, OperandType type) {
  std::vector<HeldValues> all;
  for (const Operand operand : operands) all.push_back(held_operand(operand, type));
  return all;
}

}  // namespace

HeldValues held_operand(Operand operand, OperandType type) {
  HeldValues held;
  held.operand = operand;
  held.type = type;
  return held;
}

std::vector<HeldValues> projection_operands(OperandType type) {
  return held_operands({Operand::kQkv, Operand::kO, Operand::kRouter, Operand::kGateUp,
                        Operand::kDown, Operand::kHead},
                       type);
}

std::vector<HeldValues> attention_operands(OperandType type) {
  return held_operands({Operand::kKeys, Operand::kValues, Operand::kQueries, Operand::kProbs},
                       type);
}

std::optional<Tap> norm_behind(Tap tap, const ModelSpec& spec) {
  if (spec.qk_norm && tap == Tap::kQProj) return Tap::kQNorm;
  if (spec.qk_norm && tap == Tap::kKProj) return Tap::kKNorm;
  if (spec.has_norms_after() && tap == Tap::kAttnOutput) return Tap::kAttnPostNorm;
  if (spec.has_norms_after() && tap == Tap::kMlpOutput) return Tap::kMlpPostNorm;
  return std::nullopt;
}

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
    if (!held.before_division) {
      hold(held.type, {values, rows * width}, width);
      continue;
    }
    for (std::size_t r = 0; r < rows; ++r) {
      const std::span<Real> row(values + r * width, width);
      const Real greatest = *std::ranges::max_element(row);
      if (greatest == 0) continue;
      const auto scale = static_cast<Real>((1 + held.exponential_error) / greatest);
      for (Real& x : row) x *= scale;
      hold(held.type, row, width);
      for (Real& x : row) x *= greatest;
    }
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
    if (held.what == What::kNormed && held.result == tap) hold_normed(held, values);
    if (held.what == What::kResult && held.result == tap) hold(held.type, values, width);
  }
}

// The weight is in the result already: what rounding makes of x / rms it makes of their product.
template <class Real>
void Holding<Real>::hold_normed(const HeldValues& held, std::span<Real> values) const {
  const auto found = before_norm_.find(held.result);
  if (found == before_norm_.end() || found->second.size() != values.size()) return;
  const std::vector<Real>& x = found->second;
  const bool of_heads =
      (held.result == Tap::kQNorm || held.result == Tap::kKNorm) && !spec_.qk_norms.full_width;
  const auto width = static_cast<std::size_t>(of_heads                     ? spec_.head_dim
                                              : held.result == Tap::kQNorm ? spec_.q_size()
                                              : held.result == Tap::kKNorm ? spec_.kv_size()
                                                                           : spec_.hidden_size);
  std::vector<Real> normed(width);
  std::vector<Real> rounded(width);
  for (std::size_t begin = 0; begin + width <= values.size(); begin += width) {
    double squares = 0;
    for (std::size_t i = 0; i < width; ++i) {
      squares += static_cast<double>(x[begin + i]) * static_cast<double>(x[begin + i]);
    }
    const double rms = std::sqrt(squares / static_cast<double>(width) + spec_.rms_norm_eps);
    for (std::size_t i = 0; i < width; ++i) {
      normed[i] = static_cast<Real>(static_cast<double>(x[begin + i]) / rms);
    }
    rounded = normed;
    hold(held.type, rounded, width);
    for (std::size_t i = 0; i < width; ++i) {
      if (normed[i] != 0) values[begin + i] = round_(values[begin + i] * rounded[i] / normed[i]);
    }
  }
}

template <class Real>
bool Holding<Real>::is_held(What what) const {
  return std::ranges::any_of(held_, [what](const HeldValues& held) { return held.what == what; });
}

template <class Real>
void Holding<Real>::keep_inputs(Tap tap, std::span<const Real> values) {
  const bool of_activation = tap == Tap::kGateProj || tap == Tap::kUpProj;
  if (of_activation && is_held(What::kActivation)) {
    (tap == Tap::kGateProj ? gate_ : up_).assign(values.begin(), values.end());
  }
  const std::optional<Tap> norm = norm_behind(tap, spec_);
  if (norm && is_held(What::kNormed)) before_norm_[*norm].assign(values.begin(), values.end());
}

template class Holding<float>;
template class Holding<double>;

}  // namespace assay
