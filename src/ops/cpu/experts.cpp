// A mixture of experts: a token's choice of experts, and the sum of their outputs.
#include <algorithm>
#include <numeric>

#include "base/widen.h"
#include "ops/cpu/ops.h"
#include "ops/cpu/top_k.h"

namespace assay {

// In FP32 also under bf16, as in transformers.
template <class N>
void Ops<N>::router_scores(const RouterScores& scores, std::size_t experts,
                           std::span<const Real> logits, std::span<Real> out) {
  for (std::size_t i = 0; i < logits.size(); i += experts) {
    switch (scores.function) {
      case RouterFunction::kSoftmax:
        kernels_.router_softmax(&logits[i], experts, &out[i]);
        break;
      case RouterFunction::kSigmoid:
        kernels_.sigmoid(&logits[i], experts, &out[i]);
        break;
    }
  }
}

template <class N>
void Ops<N>::correct_scores(const CorrectScores& correct, std::span<const Real> scores,
                            const Weight& bias, std::span<Real> out) {
  std::vector<Real> values(bias.cols);
  if (correct.rounds_bias) {
    kernels_.load_row(bias, 0, values.data());
  } else {
    widen(bias.dtype, bias.data, static_cast<std::ptrdiff_t>(dtype_size(bias.dtype)),
          std::span<Real>(values));
  }
  for (std::size_t i = 0; i < scores.size(); ++i) out[i] = scores[i] + values[i % bias.cols];
}

template <class N>
void Ops<N>::top_experts(const TopExperts& top, std::span<const Real> scores, std::span<Real> ids) {
  const auto experts = static_cast<std::size_t>(top.experts);
  const auto k = static_cast<std::size_t>(top.per_token);
  for (std::size_t t = 0; t < ids.size() / k; ++t) {
    std::ranges::transform(chosen_experts(top, scores.subspan(t * experts, experts)), &ids[t * k],
                           [](std::size_t e) { return static_cast<Real>(e); });
  }
}

template <class N>
void Ops<N>::expert_weights(const ExpertWeights& weights, std::size_t experts,
                            std::size_t per_token, std::span<const Real> scores,
                            std::span<const Real> ids, const Weight* scales, std::span<Real> out) {
  const auto eps = static_cast<Real>(weights.eps);
  const auto factor = static_cast<Real>(weights.factor);
  std::vector<Real> of_experts(scales == nullptr ? 0 : experts);
  if (scales != nullptr) kernels_.load_row(*scales, 0, of_experts.data());
  for (std::size_t first = 0; first < ids.size(); first += per_token) {
    const Real* of_token = &scores[first / per_token * experts];
    const std::span<Real> own = out.subspan(first, per_token);
    for (std::size_t i = 0; i < per_token; ++i) {
      own[i] = of_token[expert_of(ids[first + i], experts)];
    }
    if (weights.softmax) kernels_.router_softmax(own.data(), per_token, own.data());
    if (weights.sum_to_one) {
      const Real sum = std::accumulate(own.begin(), own.end(), Real{0}) + eps;
      for (Real& weight : own) weight /= sum;
    }
    for (std::size_t i = 0; i < per_token; ++i) {
      own[i] *= factor;
      if (scales != nullptr) own[i] *= of_experts[expert_of(ids[first + i], experts)];
      if (weights.rounded) own[i] = N::round(own[i]);
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
  // A bias is a vector after its matrix.
  const std::size_t per_expert = weights.size() / experts;
  const std::size_t per_output = per_expert / outs.size();
  std::vector<Real> bias;
  for (std::size_t e = 0; e < experts; ++e) {
    const std::span<const Weight> tensors = weights.subspan(e * per_expert, per_expert);
    const std::vector<std::size_t>& slots = slots_of[e];
    if (slots.empty()) {
      // A stream provides every matrix, in order, so unused ones must be consumed too.
      for (std::size_t o = 0; stream_ != nullptr && o < outs.size(); ++o) {
        for_each_block(tensors[o * per_output], [](const Weight&, std::size_t) {});
      }
      continue;
    }
    const std::size_t cols = tensors.front().cols;
    rows_in_.resize(slots.size() * cols);
    for (std::size_t i = 0; i < slots.size(); ++i) {
      std::copy_n(&x[slots[i] / slots_per_row * cols], cols, &rows_in_[i * cols]);
    }
    for (std::size_t o = 0; o < outs.size(); ++o) {
      const Weight& w = tensors[o * per_output];
      bias.resize(per_output > 1 ? w.rows : 0);
      if (!bias.empty()) kernels_.load_row(tensors[o * per_output + 1], 0, bias.data());
      rows_out_.resize(slots.size() * w.rows);
      const Projection projection{w, {}, rows_out_.data(), w.rows};
      linear({}, rows_in_, {&projection, 1});
      for (std::size_t i = 0; i < slots.size(); ++i) {
        const Real* from = &rows_out_[i * w.rows];
        Real* to = &outs[o][slots[i] * w.rows];
        if (bias.empty()) {
          std::copy_n(from, w.rows, to);
        } else {
          kernels_.add(from, bias.data(), w.rows, to);
        }
      }
    }
  }
}

template <class N>
void Ops<N>::sum_experts(const SumExperts& of, std::span<const Real> outputs,
                         std::span<const Real> weights, std::size_t width, std::size_t per_token,
                         std::span<Real> out) {
  pool_.parallel_for(out.size() / width, 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t t = begin; t < end; ++t) {
      Real* sum = &out[t * width];
      std::fill_n(sum, width, Real{0});
      for (std::size_t slot = t * per_token; slot < (t + 1) * per_token; ++slot) {
        const Real* from = &outputs[slot * width];
        const Real weight = weights[slot];
        for (std::size_t i = 0; i < width; ++i) {
          sum[i] += of.rounds_products ? N::round(from[i] * weight) : from[i] * weight;
        }
      }
      for (std::size_t i = 0; i < width; ++i) sum[i] = N::round(sum[i]);
    }
  });
}

#define ASSAY_INSTANTIATE(N)                                                                      \
  template void Ops<N>::router_scores(const RouterScores&, std::size_t, std::span<const N::Real>, \
                                      std::span<N::Real>);                                        \
  template void Ops<N>::correct_scores(const CorrectScores&, std::span<const N::Real>,            \
                                       const Weight&, std::span<N::Real>);                        \
  template void Ops<N>::top_experts(const TopExperts&, std::span<const N::Real>,                  \
                                    std::span<N::Real>);                                          \
  template void Ops<N>::expert_weights(const ExpertWeights&, std::size_t, std::size_t,            \
                                       std::span<const N::Real>, std::span<const N::Real>,        \
                                       const Weight*, std::span<N::Real>);                        \
  template void Ops<N>::expert_linear(                                                            \
      const ExpertLinear&, std::span<const Weight>, std::span<const N::Real>, std::size_t,        \
      std::span<const N::Real>, std::span<const std::span<N::Real>>);                             \
  template void Ops<N>::sum_experts(const SumExperts&, std::span<const N::Real>,                  \
                                    std::span<const N::Real>, std::size_t, std::size_t,           \
                                    std::span<N::Real>)
ASSAY_INSTANTIATE(Bf16);
ASSAY_INSTANTIATE(F32);
ASSAY_INSTANTIATE(F64);
#undef ASSAY_INSTANTIATE

}  // namespace assay
