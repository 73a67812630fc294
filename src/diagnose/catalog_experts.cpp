// Mistakes in mixtures of experts: router, choice, weights, the shared expert.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "diagnose/catalog_list.h"

namespace assay {
namespace {

// The first step of that kind in a layer.
template <class Op>
std::optional<std::size_t> step_of(const Block& layer) {
  const auto found = std::ranges::find_if(
      layer.steps, [](const Step& step) { return std::holds_alternative<Op>(step.operation); });
  if (found == layer.steps.end()) return std::nullopt;
  return static_cast<std::size_t>(found - layer.steps.begin());
}

template <class Op, class Change>
void change_steps(Block& layer, const Change& change) {
  for (Step& step : layer.steps) {
    if (auto* operation = std::get_if<Op>(&step.operation)) change(*operation);
  }
}

template <class Apply>
auto with_experts(Apply apply) {
  return [apply](const Circumstances& at) {
    return at.spec.moe.num_experts > 0 ? only(apply) : std::vector<Variant>{};
  };
}

std::vector<Variant> fewer_experts(const Circumstances& at) {
  std::vector<Variant> all;
  const std::int64_t own = at.spec.moe.num_experts_per_tok;
  for (const std::int64_t n : {std::int64_t{1}, own / 2, own - 1}) {
    const std::string text = fmt::format("{} of {}", n, own);
    const bool known = !all.empty() && all.back().detail == text;
    if (n < 1 || n >= own || known) continue;
    all.push_back({text, [n](Hypothesis& h) {
                     change_layers<OddSum>(h.program, [n](OddSum& sum) { sum.used = n; });
                   }});
  }
  return all;
}

// All numbers if there are few experts; otherwise common ones and those near the config's.
std::vector<Variant> other_count(const Circumstances& at) {
  const std::int64_t own = at.spec.moe.num_experts_per_tok;
  const std::int64_t most = at.spec.moe.num_experts;
  std::vector<Variant> all;
  for (std::int64_t n = 1; n <= most; ++n) {
    const bool common = n == 1 || n == 2 || n == 4 || n == 6 || n == 8 || n == 16 || n == most;
    const bool near = n == 2 * own || 2 * n == own || std::abs(n - own) <= 2;
    if (n == own || (most > 16 && !common && !near)) continue;
    all.push_back({fmt::format("{}, not {}", n, own),
                   [n](Hypothesis& h) { set_experts_per_token(h.program, n); }});
  }
  return all;
}

// Changes each layer that has a router.
template <class Change>
auto with_router(Change change) {
  return with_experts([change](Hypothesis& h) {
    for (Block& layer : h.program.layers) {
      if (layer.step_showing(Tap::kRouterLogits)) change(layer);
    }
  });
}

// What a BF16 engine rounds.
template <class Change>
auto in_bf16(Change change) {
  return [variants = with_router(change)](const Circumstances& at) {
    return at.rounds_to_bf16 ? variants(at) : std::vector<Variant>{};
  };
}

auto scores_by(RouterFunction function) {
  return [function](Block& layer) {
    change_steps<RouterScores>(layer, [function](RouterScores& s) { s.function = function; });
  };
}

std::vector<Variant> other_factor(const Circumstances& at) {
  const double own = at.spec.moe.router.factor;
  if (own == 1) return {};
  std::vector<Variant> all;
  const auto add = [&](std::string detail, double factor) {
    all.push_back({std::move(detail), [factor](Hypothesis& h) {
                     change_layers<OddExpertWeights>(
                         h.program, [factor](OddExpertWeights& w) { w.weights.factor = factor; });
                   }});
  };
  add("left out", 1);
  add("applied twice", own * own);
  return all;
}

std::vector<Variant> weights_in_bf16(const Circumstances& at) {
  if (!at.rounds_to_bf16 || at.spec.moe.num_experts == 0) return {};
  const auto weights = [](Hypothesis& h) {
    change_layers<OddExpertWeights>(h.program,
                                    [](OddExpertWeights& w) { w.weights.rounded = true; });
  };
  const auto products = [](Hypothesis& h) {
    change_layers<OddSum>(h.program, [](OddSum& sum) { sum.sum.rounds_products = true; });
  };
  return {{"the weights", weights},
          {"the weights and their products", [weights, products](Hypothesis& h) {
             weights(h);
             products(h);
           }}};
}

}  // namespace

std::vector<Entry> expert_entries() {
  std::vector<Entry> all;
  all.push_back(
      {.id = "topk-norm",
       .group = "experts",
       .name = "expert weights (not) normalised",
       .explanation =
           "norm_topk_prob says whether a token's expert weights are divided by their sum.",
       .look_at = "norm_topk_prob, and softmax over all logits or over the chosen ones",
       .frequency = 3,
       .variants = [](const Circumstances& at) {
         // The softmax of the chosen ones adds up to 1 already.
         if (at.spec.moe.num_experts == 0 || at.spec.moe.router.softmax_of_chosen) {
           return std::vector<Variant>{};
         }
         return only([](Hypothesis& h) {
           change_layers<OddExpertWeights>(h.program, [](OddExpertWeights& w) {
             w.weights.sum_to_one = !w.weights.sum_to_one;
           });
         });
       }});
  all.push_back({.id = "router-softmax-all",
                 .group = "experts",
                 .name = "router's softmax over all experts",
                 .explanation =
                     "This model's weights are the softmax of the chosen experts' logits "
                     "alone.",
                 .look_at = "whether softmax comes before or after top-k",
                 .frequency = 3,
                 .variants = with_router([](Block& layer) {
                   const auto weights = step_of<ExpertWeights>(layer);
                   if (!weights) return;
                   auto& own = std::get<ExpertWeights>(layer.steps[*weights].operation);
                   if (!own.softmax) return;
                   own.softmax = false;
                   before_read(layer, *weights, 0, RouterScores{});
                 })});
  all.push_back({.id = "router-sigmoid",
                 .group = "experts",
                 .name = "sigmoid instead of the router's softmax",
                 .explanation = "Each router logit is converted by itself, as in DeepSeek-V3.",
                 .look_at = "the router's function",
                 .variants = with_router(scores_by(RouterFunction::kSigmoid))});
  all.push_back({.id = "router-softmax",
                 .group = "experts",
                 .name = "softmax instead of the router's sigmoid",
                 .explanation =
                     "The logits are converted together, as in Mixtral; the model's router "
                     "converts each by itself.",
                 .look_at = "the router's function (scoring_func in some configs)",
                 .frequency = 3,
                 .variants = with_router(scores_by(RouterFunction::kSoftmax))});
  all.push_back(
      {.id = "router-bias-missing",
       .group = "experts",
       .name = "experts chosen without the correction bias",
       .explanation = "e_score_correction_bias is not added to the scores before the choice.",
       .look_at = "whether e_score_correction_bias is loaded, and what is passed to top-k",
       .frequency = 3,
       .variants = with_router([](Block& layer) {
         const auto correction = step_of<CorrectScores>(layer);
         if (correction) leave_out(layer, *correction);
       })});
  all.push_back({.id = "router-bias-weights",
                 .group = "experts",
                 .name = "correction bias in the experts' weights",
                 .explanation =
                     "The bias is for the choice alone: weights are computed from scores without "
                     "it.",
                 .look_at = "which scores are gathered for the chosen experts",
                 .frequency = 3,
                 .variants = with_router([](Block& layer) {
                   const auto correction = step_of<CorrectScores>(layer);
                   const auto weights = layer.step_showing(Tap::kExpertWeights);
                   if (correction && weights) {
                     layer.steps[*weights].reads[0] = layer.steps[*correction].writes[0];
                   }
                 })});
  all.push_back({.id = "router-factor",
                 .group = "experts",
                 .name = "wrong factor of the experts' weights",
                 .explanation = "routed_scaling_factor multiplies the weights after they are "
                                "divided by their sum.",
                 .look_at = "routed_scaling_factor",
                 .frequency = 3,
                 .variants = other_factor});
  all.push_back(
      {.id = "router-groups",
       .group = "experts",
       .name = "experts chosen from all groups",
       .explanation = "Only experts of the topk_group best of n_group groups may be chosen.",
       .look_at = "n_group and topk_group, and how groups are masked before top-k",
       .frequency = 2,
       .variants = with_router([](Block& layer) {
         change_steps<TopExperts>(layer, [](TopExperts& top) { top.groups = top.kept = 1; });
       })});
  all.push_back({.id = "router-logits-bf16",
                 .group = "experts",
                 .name = "router in BF16",
                 .explanation = "This router multiplies in FP32, and its logits are not rounded.",
                 .look_at = "the dtype of the router's matmul",
                 .frequency = 3,
                 .rounding = true,
                 .variants = in_bf16([](Block& layer) {
                   change_steps<Linear>(layer, [](Linear& linear) { linear.rounded = true; });
                 })});
  all.push_back({.id = "expert-weights-bf16",
                 .group = "experts",
                 .name = "experts' weights in BF16",
                 .explanation = "In this model the weights of experts, and their products with the "
                                "outputs, are not rounded.",
                 .look_at = "the dtype of the weights and of the sum over experts",
                 .rounding = true,
                 .variants = weights_in_bf16});
  all.push_back({.id = "shared-expert-missing",
                 .group = "experts",
                 .name = "shared expert left out",
                 .explanation = "One more expert, or an MLP beside the experts, is for all tokens; "
                                "its output is added.",
                 .look_at = "shared_expert, shared_experts or mlp among the tensors",
                 .frequency = 3,
                 .variants = with_router([](Block& layer) {
                   const auto sum = layer.step_showing(Tap::kMlpOutput);
                   if (!sum || !layer.find(Tap::kRoutedOutput)) return;
                   std::vector<ValueId>& reads = layer.steps[*sum].reads;
                   if (reads.size() != 2) return;
                   reads = {reads[1]};  // the routed one
                   leave_out(layer, *sum);
                 })});
  all.push_back({.id = "shared-expert-ungated",
                 .group = "experts",
                 .name = "shared expert's output not gated",
                 .explanation = "It is multiplied by the sigmoid of shared_expert_gate.",
                 .look_at = "shared_expert_gate",
                 .frequency = 3,
                 .variants = with_router([](Block& layer) {
                   const auto gate = step_of<SigmoidGate>(layer);
                   if (gate) leave_out(layer, *gate);
                 })});
  all.push_back({.id = "experts-unweighted",
                 .group = "experts",
                 .name = "experts' outputs not weighted",
                 .explanation = "The outputs of a token's experts are added without their weights.",
                 .look_at = "what multiplies an expert's output",
                 .frequency = 2,
                 .variants = with_experts([](Hypothesis& h) {
                   change_layers<OddSum>(h.program, [](OddSum& sum) { sum.weighted = false; });
                 })});
  all.push_back({.id = "experts-fewer",
                 .group = "experts",
                 .name = "fewer experts than the config says",
                 .explanation = "Only the first few of a token's experts are added.",
                 .look_at = "num_experts_per_tok",
                 .frequency = 2,
                 .variants = fewer_experts});
  all.push_back({.id = "experts-count",
                 .group = "experts",
                 .name = "wrong number of experts",
                 .explanation = "Each token goes to more or fewer experts than configured, and "
                                "their weights are computed from those.",
                 .look_at = "num_experts_per_tok, and k of the router's top-k",
                 .frequency = 2,
                 .variants = other_count});
  all.push_back({.id = "experts-shifted",
                 .group = "experts",
                 .name = "experts off by one",
                 .explanation = "The weights of the neighbouring expert are used.",
                 .look_at = "how experts' tensors are stacked and indexed",
                 .frequency = 2,
                 .variants = [](const Circumstances& at) {
                   std::vector<Variant> shifts;
                   if (at.spec.moe.num_experts == 0) return shifts;
                   for (const std::int64_t n : {1, -1}) {
                     shifts.push_back({fmt::format("{:+}", n),
                                       [n](Hypothesis& h) { shift_experts(h.program, n); }});
                   }
                   return shifts;
                 }});
  return all;
}

}  // namespace assay
