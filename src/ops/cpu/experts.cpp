// A mixture of experts: a token's choice of experts, and the sum of their outputs.
#include <algorithm>

#include "ops/cpu/ops.h"
#include "ops/cpu/top_k.h"

namespace assay {

// By the softmax over all experts, in FP32 (also in numerics bf16), as in transformers.
template <class N>
void Ops<N>::top_experts(const TopExperts& top, std::span<const Real> logits, std::span<Real> ids) {
  const auto experts = static_cast<std::size_t>(top.experts);
  const auto k = static_cast<std::size_t>(top.per_token);
  std::vector<Real> probs(experts);
  for (std::size_t t = 0; t < ids.size() / k; ++t) {
    kernels_.router_softmax(&logits[t * experts], experts, probs.data());
    std::ranges::transform(top_k<Real>(probs, k), &ids[t * k],
                           [](std::size_t e) { return static_cast<Real>(e); });
  }
}

// The chosen experts' probabilities, divided by their sum if the step says so, rounded at the end.
template <class N>
void Ops<N>::expert_weights(const ExpertWeights& weights, std::size_t experts,
                            std::size_t per_token, std::span<const Real> logits,
                            std::span<const Real> ids, std::span<Real> out) {
  std::vector<Real> probs(experts);
  for (std::size_t first = 0; first < ids.size(); first += per_token) {
    kernels_.router_softmax(&logits[first / per_token * experts], experts, probs.data());
    Real sum = 0;
    for (std::size_t i = first; i < first + per_token; ++i) {
      sum += probs[expert_of(ids[i], experts)];
    }
    for (std::size_t i = first; i < first + per_token; ++i) {
      const Real prob = probs[expert_of(ids[i], experts)];
      out[i] = N::round(weights.sum_to_one ? prob / sum : prob);
    }
  }
}

template <class N>
void Ops<N>::expert_linear(const ExpertLinear& linear_of, std::span<const Weight> weights,
                           std::span<const Real> x, std::size_t slots_per_row,
                           std::span<const Real> ids, std::span<const std::span<Real>> outs) {
  const auto experts = static_cast<std::size_t>(linear_of.experts);
  std::vector<std::vector<std::size_t>> slots_of(experts);
  for (std::size_t slot = 0; slot < ids.size(); ++slot) {
    slots_of[expert_of(ids[slot], experts)].push_back(slot);
  }
  for (std::size_t e = 0; e < experts; ++e) {
    const std::span<const Weight> matrices = weights.subspan(e * outs.size(), outs.size());
    const std::vector<std::size_t>& slots = slots_of[e];
    if (slots.empty()) {
      // A stream provides every matrix, in order, so unused ones must be consumed too.
      for (const Weight& w : matrices) {
        if (stream_ != nullptr) for_each_block(w, [](const Weight&, std::size_t) {});
      }
      continue;
    }
    const std::size_t cols = matrices.front().cols;
    rows_in_.resize(slots.size() * cols);
    for (std::size_t i = 0; i < slots.size(); ++i) {
      std::copy_n(&x[slots[i] / slots_per_row * cols], cols, &rows_in_[i * cols]);
    }
    for (std::size_t o = 0; o < outs.size(); ++o) {
      const Weight& w = matrices[o];
      rows_out_.resize(slots.size() * w.rows);
      const Projection projection{w, {}, rows_out_.data(), w.rows};
      linear(rows_in_, {&projection, 1});
      for (std::size_t i = 0; i < slots.size(); ++i) {
        std::copy_n(&rows_out_[i * w.rows], w.rows, &outs[o][slots[i] * w.rows]);
      }
    }
  }
}

template <class N>
void Ops<N>::sum_experts(std::span<const Real> outputs, std::span<const Real> weights,
                         std::size_t width, std::size_t per_token, std::span<Real> out) {
  pool_.parallel_for(out.size() / width, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      Real* sum = &out[t * width];
      std::fill_n(sum, width, Real{0});
      for (std::size_t slot = t * per_token; slot < (t + 1) * per_token; ++slot) {
        const Real* from = &outputs[slot * width];
        for (std::size_t i = 0; i < width; ++i) sum[i] += N::round(from[i] * weights[slot]);
      }
      for (std::size_t i = 0; i < width; ++i) sum[i] = N::round(sum[i]);
    }
  });
}

#define ASSAY_INSTANTIATE(N)                                                               \
  template void Ops<N>::top_experts(const TopExperts&, std::span<const N::Real>,           \
                                    std::span<N::Real>);                                   \
  template void Ops<N>::expert_weights(const ExpertWeights&, std::size_t, std::size_t,     \
                                       std::span<const N::Real>, std::span<const N::Real>, \
                                       std::span<N::Real>);                                \
  template void Ops<N>::expert_linear(                                                     \
      const ExpertLinear&, std::span<const Weight>, std::span<const N::Real>, std::size_t, \
      std::span<const N::Real>, std::span<const std::span<N::Real>>);                      \
  template void Ops<N>::sum_experts(std::span<const N::Real>, std::span<const N::Real>,    \
                                    std::size_t, std::size_t, std::span<N::Real>)
ASSAY_INSTANTIATE(Bf16);
ASSAY_INSTANTIATE(F32);
ASSAY_INSTANTIATE(F64);
#undef ASSAY_INSTANTIATE

}  // namespace assay
