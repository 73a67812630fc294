#include "rewrite/experts.h"

#include <algorithm>

#include "rewrite/foreign_of.h"

namespace assay {
template <class N>
void OddExpertWeights::compute(ForeignRun<N>& with) const {
  using Real = typename N::Real;
  const std::size_t k = with.widths[1];
  ExpertWeights exact = weights;
  exact.rounded = false;
  with.ops.expert_weights(exact, with.widths[0], k, with.reads[0], with.reads[1],
                          with.weights.empty() ? nullptr : with.weights.data(), with.writes[0]);
  if (!weights.rounded) return;
  for (Real& weight : with.writes[0]) weight = stored<N>(store, weight);
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
      for (std::size_t i = 0; i < width; ++i) {
        out[i] += sum.rounds_products ? stored<N>(store, from[i] * weight) : from[i] * weight;
      }
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
  if (const auto* plain = std::get_if<SumExperts>(&operation)) return OddSum{*plain};
  if (const auto* odd = foreign_as<OddSum>(operation)) return *odd;
  return std::nullopt;
}

Operation OddSum::operation() const {
  if (*this == OddSum{sum}) return sum;
  return foreign(*this);
}

#define ASSAY_INSTANTIATE(N)                                     \
  template void OddExpertWeights::compute(ForeignRun<N>&) const; \
  template void OddSum::compute(ForeignRun<N>&) const;           \
  template void ShiftedIds::compute(ForeignRun<N>&) const
ASSAY_INSTANTIATE(Bf16);
ASSAY_INSTANTIATE(F32);
ASSAY_INSTANTIATE(F64);
#undef ASSAY_INSTANTIATE

}  // namespace assay
