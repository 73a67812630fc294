#include "rewrite/experts.h"

#include <algorithm>
#include <vector>

#include "ops/cpu/top_k.h"
#include "rewrite/foreign_of.h"
#include "rewrite/sleef_functions.h"

namespace assay {
namespace {

template <class N>
std::vector<typename N::Real> probabilities(const ForeignRun<N>& with, bool sigmoid,
                                            std::size_t experts) {
  using Real = typename N::Real;
  const std::span<const Real> logits = with.reads[0];
  std::vector<Real> probs(logits.size());
  if (sigmoid) {
    std::ranges::transform(logits, probs.begin(), [](Real x) {
      return static_cast<Real>(1 / (1 + exponential(-static_cast<double>(x))));
    });
    return probs;
  }
  for (std::size_t i = 0; i < logits.size(); i += experts) {
    with.ops.kernels().router_softmax(&logits[i], experts, &probs[i]);
  }
  return probs;
}

}  // namespace

template <class N>
void OddTopExperts::compute(ForeignRun<N>& with) const {
  using Real = typename N::Real;
  const auto experts = static_cast<std::size_t>(top.experts);
  const auto k = static_cast<std::size_t>(top.per_token);
  const std::vector<Real> probs = probabilities(with, sigmoid, experts);
  for (std::size_t t = 0; t < with.tokens; ++t) {
    std::ranges::transform(top_k<Real>({&probs[t * experts], experts}, k), &with.writes[0][t * k],
                           [](std::size_t e) { return static_cast<Real>(e); });
  }
}

template <class N>
void OddExpertWeights::compute(ForeignRun<N>& with) const {
  using Real = typename N::Real;
  const std::size_t experts = with.widths[0];
  const std::size_t k = with.widths[1];
  const std::vector<Real> probs = probabilities(with, sigmoid, experts);
  for (std::size_t t = 0; t < with.tokens; ++t) {
    const Real* ids = &with.reads[1][t * k];
    const auto prob = [&](std::size_t i) {
      return probs[t * experts + expert_of(ids[i], experts)];
    };
    Real sum = 0;
    for (std::size_t i = 0; i < k; ++i) sum += prob(i);
    for (std::size_t i = 0; i < k; ++i) {
      with.writes[0][t * k + i] = stored<N>(store, weights.sum_to_one ? prob(i) / sum : prob(i));
    }
  }
}

template <class N>
void OddSum::compute(ForeignRun<N>& with) const {
  using Real = typename N::Real;
  const std::size_t k = with.widths[1];
  const std::size_t width = with.widths[0] / k;
  const std::size_t count = used > 0 ? std::min(static_cast<std::size_t>(used), k) : k;
  for (std::size_t t = 0; t < with.tokens; ++t) {
    Real* out = &with.writes[0][t * width];
    std::fill_n(out, width, Real{0});
    for (std::size_t slot = t * k; slot < t * k + count; ++slot) {
      const Real weight = weighted ? with.reads[1][slot] : Real{1};
      const Real* from = &with.reads[0][slot * width];
      for (std::size_t i = 0; i < width; ++i) out[i] += stored<N>(store, from[i] * weight);
    }
    for (std::size_t i = 0; i < width; ++i) out[i] = stored<N>(store, out[i]);
  }
}

template <class N>
void ShiftedIds::compute(ForeignRun<N>& with) const {
  using Real = typename N::Real;
  std::ranges::transform(with.reads[0], with.writes[0].begin(), [this](Real id) {
    return static_cast<Real>(
        expert_of(id + static_cast<Real>(by), static_cast<std::size_t>(experts)));
  });
}

std::optional<OddTopExperts> OddTopExperts::of(const Operation& operation) {
  if (const auto* plain = std::get_if<TopExperts>(&operation)) return OddTopExperts{*plain};
  if (const auto* odd = foreign_as<OddTopExperts>(operation)) return *odd;
  return std::nullopt;
}

Operation OddTopExperts::operation() const {
  if (!sigmoid) return top;
  return foreign(*this);
}

std::optional<OddExpertWeights> OddExpertWeights::of(const Operation& operation) {
  if (const auto* plain = std::get_if<ExpertWeights>(&operation)) return OddExpertWeights{*plain};
  if (const auto* odd = foreign_as<OddExpertWeights>(operation)) return *odd;
  return std::nullopt;
}

Operation OddExpertWeights::operation() const {
  if (*this == OddExpertWeights{weights}) return weights;
  return foreign(*this);
}

std::optional<OddSum> OddSum::of(const Operation& operation) {
  if (std::holds_alternative<SumExperts>(operation)) return OddSum{};
  if (const auto* odd = foreign_as<OddSum>(operation)) return *odd;
  return std::nullopt;
}

Operation OddSum::operation() const {
  if (*this == OddSum{}) return SumExperts{};
  return foreign(*this);
}

#define ASSAY_INSTANTIATE(N)                                     \
  template void OddTopExperts::compute(ForeignRun<N>&) const;    \
  template void OddExpertWeights::compute(ForeignRun<N>&) const; \
  template void OddSum::compute(ForeignRun<N>&) const;           \
  template void ShiftedIds::compute(ForeignRun<N>&) const
ASSAY_INSTANTIATE(Bf16);
ASSAY_INSTANTIATE(F32);
ASSAY_INSTANTIATE(F64);
#undef ASSAY_INSTANTIATE

}  // namespace assay
