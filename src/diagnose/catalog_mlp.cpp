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

// Changes the parameters of a swish; models with another activation have none.
template <class Change>
auto swish(Change change) {
  return [change](Hypothesis& h) {
    for (Block& layer : h.program.layers) {
      for (Step& step : layer.steps) {
        auto* gate = std::get_if<Gate>(&step.operation);
        if (gate != nullptr && gate->activation == Activation::kSwish) change(*gate);
      }
    }
  };
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
  all.push_back({.id = "swiglu-limit",
                 .group = "MLP",
                 .name = "gate and up not clamped",
                 .explanation = "Before the activation, gate is limited from above and up on both "
                                "sides, to swiglu_limit.",
                 .look_at = "swiglu_limit",
                 .frequency = 3,
                 .variants = always(swish([](Gate& gate) { gate.limit = 0; }))});
  all.push_back({.id = "swiglu-plus-one",
                 .group = "MLP",
                 .name = "up used without the added 1",
                 .explanation = "gate * sigmoid(alpha * gate) is multiplied by up + 1.",
                 .look_at = "what the activated gate is multiplied by",
                 .frequency = 3,
                 .variants = always(swish([](Gate& gate) { gate.up_plus_one = false; }))});
  all.push_back({.id = "swiglu-alpha",
                 .group = "MLP",
                 .name = "SiLU instead of gate * sigmoid(alpha * gate)",
                 .explanation = "The gate is multiplied by alpha (1.702) within the sigmoid.",
                 .look_at = "swiglu_alpha, and whether the activation is plain SiLU",
                 .frequency = 3,
                 .variants = always(swish([](Gate& gate) { gate.alpha = 1; }))});
  all.push_back({.id = "mxfp4-nibbles",
                 .group = "MLP",
                 .name = "MXFP4's nibbles in the wrong order",
                 .explanation = "The low half of a byte is the first of its two elements.",
                 .look_at = "how blocks are unpacked; GGUF has another order than safetensors",
                 .frequency = 2,
                 .variants = [](const Circumstances& at) {
                   if (!at.spec.interleaved_experts) return std::vector<Variant>{};
                   return only([](Hypothesis& h) {
                     for (const Part part : {Part::kGate, Part::kUp, Part::kDown}) {
                       h.weights.push_back({WeightChange::Kind::kNibbles, part, part, 0});
                     }
                   });
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
