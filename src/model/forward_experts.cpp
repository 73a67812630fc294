// A mixture of experts: which of them a token goes to, and what it gets back.
//
// A slot is one of a token's places for an expert: token * num_experts_per_tok + i.
#include <algorithm>
#include <cassert>
#include <cmath>

#include "model/forward.h"
#include "model/router.h"
#include "model/variant_ops.h"

namespace assay {

// softmax over all experts, the greatest ones' values, made to add up to 1 where the spec says so:
// all in FP32 (numerics bf16 too) and rounded at the end, as transformers has it.
template <class N>
void ForwardPass<N>::route(std::int64_t l, const Weight& router, std::span<const Real> x) {
  const MoeSpec& moe = spec_.moe;
  const auto experts = static_cast<std::size_t>(moe.num_experts);
  const auto k = static_cast<std::size_t>(moe.num_experts_per_tok);
  act_.router_logits.resize(tokens_.size() * experts);
  act_.expert_ids.resize(tokens_.size() * k);
  act_.expert_weights.resize(tokens_.size() * k);
  linear(as_read(Operand::kRouter, l, x, router.cols), {onto(router, {}, act_.router_logits)});
  tap(Tap::kRouterLogits, l, act_.router_logits);

  std::vector<Real> probs(tokens_.size() * experts);
  for (std::size_t t = 0; t < tokens_.size(); ++t) {
    const Real* logits = &act_.router_logits[t * experts];
    Real* of_token = &probs[t * experts];
    if (moe.sigmoid) {
      std::transform(logits, logits + experts, of_token, sigmoid<Real>);
    } else {
      kernels_.router_softmax(logits, experts, of_token);
    }
    const std::vector<std::size_t> chosen = top_k<Real>({of_token, experts}, k);
    std::transform(chosen.begin(), chosen.end(), &act_.expert_ids[t * k],
                   [](std::size_t e) { return static_cast<Real>(e); });
  }
  tap(Tap::kExpertIds, l, act_.expert_ids);
  // An exchange may have put anything there.
  const auto expert = [&](Real id) {
    const bool in_range = id >= 0 && id < static_cast<Real>(experts);
    return in_range ? static_cast<std::size_t>(id) : id < 0 ? experts - 1 : 0;
  };
  for (std::size_t t = 0; t < tokens_.size(); ++t) {
    const Real* ids = &act_.expert_ids[t * k];
    const auto prob = [&](Real id) { return probs[t * experts + expert(id)]; };
    Real sum = 0;
    for (std::size_t i = 0; i < k; ++i) sum += prob(ids[i]);
    for (std::size_t i = 0; i < k; ++i) {
      const Real weight = moe.norm_topk_prob ? prob(ids[i]) / sum : prob(ids[i]);
      act_.expert_weights[t * k + i] = stored<N>(spec_.store, weight);
    }
  }
  tap(Tap::kExpertWeights, l, act_.expert_weights);

  slots_of_expert_.assign(experts, {});
  for (std::size_t slot = 0; slot < act_.expert_ids.size(); ++slot) {
    const Real id = act_.expert_ids[slot] + static_cast<Real>(moe.expert_offset);
    slots_of_expert_[expert(id)].push_back(slot);
  }
}

// Slot s takes row s / slots_per_row of x through the matrices of its expert.
template <class N>
void ForwardPass<N>::linear_by_expert(const std::vector<MlpWeights>& experts,
                                      std::span<const Real> x, std::size_t slots_per_row,
                                      std::initializer_list<ExpertProjection> projections) {
  for (std::size_t e = 0; e < experts.size(); ++e) {
    const std::vector<std::size_t>& slots = slots_of_expert_[e];
    if (slots.empty()) {
      // A stream brings every matrix.
      for (const ExpertProjection& p : projections) {
        if (model_.stream) for_each_block(experts[e].*p.w, [](const Weight&, std::size_t) {});
      }
      continue;
    }
    const std::size_t cols = (experts[e].*projections.begin()->w).cols;
    act_.rows_in.resize(slots.size() * cols);
    for (std::size_t i = 0; i < slots.size(); ++i) {
      std::copy_n(&x[slots[i] / slots_per_row * cols], cols, &act_.rows_in[i * cols]);
    }
    for (const ExpertProjection& p : projections) {
      const Weight& w = experts[e].*p.w;
      act_.rows_out.resize(slots.size() * w.rows);
      linear(act_.rows_in, {onto(w, {}, act_.rows_out)});
      for (std::size_t i = 0; i < slots.size(); ++i) {
        std::copy_n(&act_.rows_out[i * w.rows], w.rows, &p.out[slots[i] * w.rows]);
      }
    }
  }
}

// block = the sum of round(output * weight) over a token's slots in their order, rounded once.
template <class N>
void ForwardPass<N>::add_experts() {
  const MoeSpec& moe = spec_.moe;
  const auto hidden = static_cast<std::size_t>(spec_.hidden_size);
  const auto k = static_cast<std::size_t>(moe.num_experts_per_tok);
  const std::size_t used = moe.used > 0 ? static_cast<std::size_t>(moe.used) : k;
  pool_.parallel_for(tokens_.size(), 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      Real* out = &act_.block[t * hidden];
      std::fill_n(out, hidden, Real{0});
      for (std::size_t slot = t * k; slot < t * k + used; ++slot) {
        const Real weight = moe.weighted ? act_.expert_weights[slot] : Real{1};
        const Real* from = &act_.expert_out[slot * hidden];
        for (std::size_t i = 0; i < hidden; ++i) {
          out[i] += stored<N>(spec_.store, from[i] * weight);
        }
      }
      for (std::size_t i = 0; i < hidden; ++i) out[i] = stored<N>(spec_.store, out[i]);
    }
  });
}

#define ASSAY_INSTANTIATE(N)                                                               \
  template void ForwardPass<N>::route(std::int64_t, const Weight&, std::span<const Real>); \
  template void ForwardPass<N>::linear_by_expert(const std::vector<MlpWeights>&,           \
                                                 std::span<const Real>, std::size_t,       \
                                                 std::initializer_list<ExpertProjection>); \
  template void ForwardPass<N>::add_experts()
ASSAY_INSTANTIATE(Bf16);
ASSAY_INSTANTIATE(F32);
ASSAY_INSTANTIATE(F64);
#undef ASSAY_INSTANTIATE

}  // namespace assay
