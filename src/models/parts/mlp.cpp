#include "models/parts/mlp.h"

#include <fmt/format.h>

#include <optional>
#include <string>

namespace assay {
namespace {

Gate gate_of(const MlpSpec& mlp) { return {mlp.activation, mlp.alpha, mlp.limit, mlp.up_plus_one}; }

// An MLP that all tokens pass through.
struct Dense {
  std::string block;  // its tensors' names begin with it
  std::string_view fused;
  std::int64_t width;
  bool biased;
  Tap gate = Tap::kGateProj, up = Tap::kUpProj, act = Tap::kMlpAct, output = Tap::kMlpOutput;
};

ValueId dense(Builder& b, ValueId x, const Dense& of) {
  const ModelSpec& s = b.spec();
  const std::int64_t width = of.width;
  std::vector<TensorUse> tensors;
  if (!of.fused.empty()) {
    for (const std::int64_t first : {std::int64_t{0}, width}) {
      TensorUse part = b.matrix(fmt::format("{}.{}", of.block, of.fused), width, s.hidden_size);
      part.first = first;
      part.stored = 2 * width;
      tensors.push_back(std::move(part));
    }
  } else {
    for (const std::string& name : {of.block + ".gate_proj", of.block + ".up_proj"}) {
      tensors.push_back(b.matrix(name, width, s.hidden_size));
      if (of.biased) tensors.push_back(b.bias(name, width));
    }
  }
  const std::vector<ValueId> both =
      b.steps(Linear{}, {x}, {{{width}, of.gate}, {{width}, of.up}}, std::move(tensors));
  const ValueId act = b.step(gate_of(s.mlp), both, {{width}, of.act});
  const std::string name = of.block + ".down_proj";
  std::vector<TensorUse> down = {b.matrix(name, s.hidden_size, width)};
  if (of.biased) down.push_back(b.bias(name, s.hidden_size));
  return b.step(Linear{}, {act}, {{s.hidden_size}, of.output}, std::move(down));
}

std::string within(std::string_view block, std::string_view name) {
  return block.empty() ? std::string(name) : fmt::format("{}.{}", block, name);
}

// A token's experts and their weights.
struct Routed {
  ValueId ids, weights;
};

Routed route(Builder& b, ValueId x, const MoeTensors& names) {
  const ModelSpec& s = b.spec();
  const RouterSpec& router = s.moe.router;
  const std::int64_t experts = s.moe.num_experts;
  const std::int64_t k = s.moe.num_experts_per_tok;
  const std::string name = within(names.block, names.router);
  std::vector<TensorUse> matrix = {b.matrix(name, experts, s.hidden_size)};
  if (router.logit_bias) matrix.push_back(b.bias(name, experts));
  const ValueId logits =
      b.step(Linear{!router.fp32_logits}, {x}, {{experts}, Tap::kRouterLogits}, std::move(matrix));
  const ValueId scores = router.softmax_of_chosen ? logits
                                                  : b.step(RouterScores{router.function}, {logits},
                                                           {{experts}, std::nullopt});
  ValueId chosen_by = scores;
  if (router.bias != RouterSpec::Bias::kNone) {
    const CorrectScores correct{router.bias == RouterSpec::Bias::kRounded};
    chosen_by = b.step(correct, {scores}, {{experts}, Tap::kRouterScores},
                       {b.named(within(names.block, names.bias), experts)});
  }
  const ValueId ids =
      b.step(TopExperts{experts, k, router.sorted, router.groups, router.kept_groups}, {chosen_by},
             {{k}, Tap::kExpertIds});
  std::vector<TensorUse> scales;
  if (router.expert_scales)
    scales.push_back(b.named(within(names.block, names.expert_scale), experts));
  const ValueId weights =
      b.step(ExpertWeights{router.norm_topk_prob, router.norm_eps, router.factor, router.rounded,
                           router.softmax_of_chosen},
             {scores, ids}, {{k}, Tap::kExpertWeights}, std::move(scales));
  return {ids, weights};
}

// The MLP of all tokens, in a layer that also has experts.
Dense for_all(std::string block, std::int64_t width) {
  return {.block = std::move(block),
          .fused = "",
          .width = width,
          .biased = false,
          .gate = Tap::kSharedGateProj,
          .up = Tap::kSharedUpProj,
          .act = Tap::kSharedMlpAct,
          .output = Tap::kSharedOutput};
}

// The output of the expert that all tokens pass through, to be added to that of their own.
ValueId shared(Builder& b, ValueId x, const MoeTensors& names) {
  const ModelSpec& s = b.spec();
  const ValueId output = dense(b, x, for_all(within(names.block, names.shared), s.moe.shared_size));
  if (!s.moe.shared_gated) return output;
  const ValueId gate = b.step(Linear{}, {x}, {{1}, Tap::kSharedGate},
                              {b.matrix(within(names.block, names.shared_gate), 1, s.hidden_size)});
  return b.step(SigmoidGate{}, {output, gate}, {{s.hidden_size}, std::nullopt});
}

}  // namespace

ValueId routed_experts(Builder& b, ValueId x, ValueId routed_by, const MoeTensors& names, Tap tap) {
  const ModelSpec& s = b.spec();
  const MoeSpec& moe = s.moe;
  const std::int64_t k = moe.num_experts_per_tok;
  const std::int64_t width = moe.intermediate_size;
  const Routed routed = route(b, routed_by, names);
  std::vector<TensorUse> in;
  std::vector<TensorUse> out;
  const auto add = [&](std::string_view name, std::int64_t rows, std::int64_t cols,
                       std::vector<TensorUse>& to) {
    const std::string full = within(names.block, fmt::format("experts.{{}}.{}", name));
    to.push_back(b.matrix(full, rows, cols));
    to.back().count = moe.num_experts;
    if (!moe.biased) return;
    to.push_back(b.bias(full, rows));
    to.back().count = moe.num_experts;
  };
  add(names.gate, width, s.hidden_size, in);
  add(names.up, width, s.hidden_size, in);
  add(names.down, s.hidden_size, width, out);
  const ExpertLinear linear{moe.num_experts, k};
  const std::vector<ValueId> both =
      b.steps(linear, {x, routed.ids}, {{{k, width}, Tap::kGateProj}, {{k, width}, Tap::kUpProj}},
              std::move(in));
  const ValueId act = b.step(gate_of(s.mlp), both, {{k, width}, Tap::kMlpAct});
  const ValueId outputs =
      b.step(linear, {act, routed.ids}, {{k, s.hidden_size}, std::nullopt}, std::move(out));
  return b.step(SumExperts{moe.router.rounded}, {outputs, routed.weights}, {{s.hidden_size}, tap});
}

ValueId mlp_of_all(Builder& b, ValueId x) {
  return dense(b, x, for_all("mlp", b.spec().mlp_width(b.layer())));
}

ValueId mlp(Builder& b, ValueId x, const MlpTensors& tensors) {
  const ModelSpec& s = b.spec();
  if (!s.is_sparse(b.layer())) {
    return dense(b, x,
                 {.block = "mlp",
                  .fused = tensors.fused,
                  .width = s.mlp_width(b.layer()),
                  .biased = s.mlp_bias});
  }
  const bool alone = s.moe.shared_size == 0;
  const ValueId sum =
      routed_experts(b, x, x, tensors.moe, alone ? Tap::kMlpOutput : Tap::kRoutedOutput);
  if (alone) return sum;
  return b.step(Add{}, {shared(b, x, tensors.moe), sum}, {{s.hidden_size}, Tap::kMlpOutput});
}

}  // namespace assay
