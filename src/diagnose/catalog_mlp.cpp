#include <fmt/format.h>

#include <cstdlib>

#include "diagnose/catalog_list.h"

namespace assay {
namespace {

// Applies the change to every activation.
template <class Change>
auto gates(Change change) {
  return [change](Hypothesis& h) { change_layers<OddGate>(h.program, change); };
}

std::vector<Variant> other_activation(const Circumstances&) {
  constexpr std::pair<std::string_view, Function> kAll[] = {
      {"SiLU", Function::kSilu},
      {"GELU", Function::kGelu},
      {"GELU, tanh approximation", Function::kGeluTanh},
      {"quick GELU", Function::kQuickGelu},
      {"ReLU", Function::kRelu},
      {"squared ReLU", Function::kRelu2},
      {"sigmoid", Function::kSigmoid},
      {"tanh", Function::kTanh},
      {"hard swish", Function::kHardSwish},
      {"none", Function::kNone}};
  std::vector<Variant> all;
  for (const auto& [name, function] : kAll) {
    all.push_back({std::string(name), gates([f = function](OddGate& g) { g.function = f; })});
  }
  return all;
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

}  // namespace

std::vector<Entry> mlp_entries() {
  std::vector<Entry> all;
  all.push_back(
      {.id = "act-variant",
       .group = "MLP",
       .name = "wrong activation",
       .explanation = "The function on the MLP's gate is not the config's.",
       .look_at = "hidden_act (Gemma: hidden_activation); GELU has an exact and a tanh form",
       .frequency = 3,
       .variants = other_activation});
  all.push_back(
      {.id = "gate-up-swap",
       .group = "MLP",
       .name = "activation on up, not on gate",
       .explanation = "gate * act(up) instead of act(gate) * up, or the two matrices are swapped.",
       .look_at = "the order of gate and up in a fused matrix, and which half is activated",
       .frequency = 3,
       .variants = [](const Circumstances&) -> std::vector<Variant> {
         return {
             {"act(up) * gate", gates([](OddGate& g) { g.on = OddGate::On::kUp; })},
             {"gate_proj and up_proj swapped", [](Hypothesis& h) {
                h.weights.push_back({WeightChange::Kind::kExchanged, Part::kGate, Part::kUp, 0});
              }}};
       }});
  all.push_back({.id = "act-on-product",
                 .group = "MLP",
                 .name = "activation on the product",
                 .explanation = "act(gate * up) instead of act(gate) * up.",
                 .look_at = "the order of activation and product",
                 .variants = [](const Circumstances&) {
                   return only(gates([](OddGate& g) { g.on = OddGate::On::kProduct; }));
                 }});
  all.push_back(
      {.id = "gate-up-mixed",
       .group = "MLP",
       .name = "fused gate/up split wrongly",
       .explanation =
           "Rows of gate and up alternate in the fused matrix, but it is split into halves.",
       .look_at = "how the fused gate_up matrix is laid out and split",
       .frequency = 2,
       .variants = [](const Circumstances&) {
         return only([](Hypothesis& h) {
           h.weights.push_back({WeightChange::Kind::kGateUpMixed, Part::kGate, Part::kUp, 0});
         });
       }});
  all.push_back(
      {.id = "topk-norm",
       .group = "experts",
       .name = "expert weights (not) normalised",
       .explanation =
           "norm_topk_prob says whether a token's expert weights are divided by their sum.",
       .look_at = "norm_topk_prob, and softmax over all logits or over the chosen ones",
       .frequency = 3,
       .variants = with_experts([](Hypothesis& h) {
         change_layers<OddExpertWeights>(
             h.program, [](OddExpertWeights& w) { w.weights.sum_to_one = !w.weights.sum_to_one; });
       })});
  all.push_back(
      {.id = "router-sigmoid",
       .group = "experts",
       .name = "sigmoid instead of the router's softmax",
       .explanation = "Each router logit is converted by itself, as in DeepSeek-V3.",
       .look_at = "the router's function",
       .variants = with_experts([](Hypothesis& h) {
         change_layers<OddTopExperts>(h.program, [](OddTopExperts& top) { top.sigmoid = true; });
         change_layers<OddExpertWeights>(h.program, [](OddExpertWeights& w) { w.sigmoid = true; });
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
  all.push_back({.id = "bf16-as-fp16",
                 .group = "precision",
                 .name = "BF16 weights read as F16",
                 .explanation = "The bits of BF16 values are interpreted as F16: values near 1 or "
                                "tiny ones come out wrong by orders of magnitude.",
                 .look_at = "the dtype in the checkpoint's header",
                 .variants = [](const Circumstances&) {
                   return only([](Hypothesis& h) {
                     const WeightChange change{WeightChange::Kind::kBf16AsF16};
                     h.weights.push_back(change);
                     h.embedding = h.head = change;
                   });
                 }});
  all.push_back(
      {.id = "bf16-trunc",
       .group = "precision",
       .name = "BF16 by truncation",
       .explanation =
           "Results are truncated to BF16, not rounded to the nearest: a bias towards zero.",
       .look_at = "the cast from FP32 to BF16 (>> 16 alone truncates)",
       .rounding = true,
       .variants = [](const Circumstances& at) {
         if (!at.rounds_to_bf16) return std::vector<Variant>{};
         return only([](Hypothesis& h) { h.store = Store::kTruncated; });
       }});
  return all;
}

}  // namespace assay
