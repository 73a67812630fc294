// Mistakes in what only Gemma 4 has: keys and values of other layers, values without a weight in
// their norm or without a matrix, the router's own norm, per-layer inputs, the layers' scalars.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "diagnose/catalog_list.h"
#include "rewrite/foreign_of.h"

namespace assay {
namespace {

// One variant, which changes each layer by itself.
template <class Change>
auto in_layers(Change change) {
  return [change](Hypothesis& h) {
    for (Block& layer : h.program.layers) change(layer);
  };
}

// Lets what reads the step's result read `other` instead.
void replace_by(Block& layer, std::optional<std::size_t> step, std::optional<ValueId> other) {
  if (!step || !other) return;
  layer.steps[*step].reads = {*other};
  leave_out(layer, *step);
}

// Leaves out the step that makes the value this one reads, if it has no tap of its own.
void leave_out_before(Block& layer, std::optional<std::size_t> step, std::size_t read) {
  if (!step || layer.steps[*step].reads.size() <= read) return;
  const ValueId value = layer.steps[*step].reads[read];
  for (std::size_t s = 0; s < *step; ++s) {
    if (layer.steps[s].writes[0] == value && !layer.values[value].tap) leave_out(layer, s);
  }
}

bool is_multiply(const Block& layer, std::optional<std::size_t> step) {
  return step && std::holds_alternative<Multiply>(layer.steps[*step].operation);
}

// The layers of the same kind that have keys and values of their own, first to last.
std::vector<std::int64_t> layers_with_keys(const ModelSpec& spec, std::int64_t like) {
  std::vector<std::int64_t> all;
  for (std::int64_t l = 0; l < spec.num_hidden_layers; ++l) {
    if (!spec.kv_source(l) && spec.is_sliding(l) == spec.is_sliding(like)) all.push_back(l);
  }
  return all;
}

// choose(layers, l): the layer among these that l reads.
template <class Choose>
Variant keys_of(std::string detail, const ModelSpec& spec, Choose choose) {
  return {std::move(detail), [spec, choose](Hypothesis& h) {
            for (std::size_t l = 0; l < h.program.layers.size(); ++l) {
              const auto layer = static_cast<std::int64_t>(l);
              if (!spec.kv_source(layer)) continue;
              const std::int64_t source = choose(layers_with_keys(spec, layer), layer);
              for (Import& import : h.program.layers[l].imports) {
                if (import.from.layer >= 0) import.from.layer = source;
              }
            }
          }};
}

std::vector<Variant> other_sources(const Circumstances& at) {
  if (at.spec.kv_shared_layers == 0) return {};
  using Layers = std::vector<std::int64_t>;
  std::vector<Variant> all;
  for (const std::size_t back : {1, 2, 3}) {
    all.push_back(
        keys_of(fmt::format("{} of their kind earlier",
                            back == 1 ? std::string("one layer") : fmt::format("{} layers", back)),
                at.spec, [back](const Layers& layers, std::int64_t) {
                  return layers[layers.size() - 1 - std::min(back, layers.size() - 1)];
                }));
  }
  all.push_back(keys_of("the first layer of their kind", at.spec,
                        [](const Layers& layers, std::int64_t) { return layers.front(); }));
  all.push_back(keys_of(fmt::format("the layer {} before, or the nearest of their kind before that",
                                    at.spec.kv_shared_layers),
                        at.spec,
                        [n = at.spec.kv_shared_layers](const Layers& layers, std::int64_t l) {
                          const auto after = std::ranges::upper_bound(layers, l - n);
                          return after == layers.begin() ? layers.front() : *std::prev(after);
                        }));
  return all;
}

// Values made from the keys as they are after this tap.
auto values_from(Tap tap, bool normalised) {
  return in_layers([tap, normalised](Block& layer) {
    const std::optional<std::size_t> norm = layer.step_showing(Tap::kVNorm);
    const std::optional<ValueId> keys = layer.find(tap);
    if (!norm || !keys || layer.find(Tap::kVProj)) return;
    layer.steps[*norm].reads = {*keys};
    if (!normalised) leave_out(layer, *norm);
    // It comes after what it now reads.
    const std::size_t made = *layer.step_showing(tap);
    if (made > *norm) {
      std::rotate(layer.steps.begin() + static_cast<std::ptrdiff_t>(*norm),
                  layer.steps.begin() + static_cast<std::ptrdiff_t>(*norm) + 1,
                  layer.steps.begin() + static_cast<std::ptrdiff_t>(made) + 1);
    }
  });
}

std::vector<Variant> other_router_inputs(const Circumstances& at) {
  if (!at.program.layers.front().find(Tap::kRouterInput)) return {};
  const auto reads = [](Tap tap) {
    return in_layers([tap](Block& layer) {
      const std::optional<std::size_t> norm = layer.step_showing(Tap::kRouterNorm);
      const std::optional<std::size_t> made = layer.step_showing(tap);
      if (!norm || !made || *made > *norm) return;
      layer.steps[*norm].reads = {*layer.find(tap)};
    });
  };
  return {{"without the router's scale", in_layers([](Block& layer) {
             leave_out_before(layer, layer.step_showing(Tap::kRouterInput), 0);
           })},
          {"without 1/sqrt(hidden_size)", in_layers([](Block& layer) {
             const auto input = layer.step_showing(Tap::kRouterInput);
             if (is_multiply(layer, input)) leave_out(layer, *input);
           })},
          {"without both", in_layers([](Block& layer) {
             replace_by(layer, layer.step_showing(Tap::kRouterInput), layer.find(Tap::kRouterNorm));
           })},
          {"not normalised", in_layers([](Block& layer) {
             const auto norm = layer.step_showing(Tap::kRouterNorm);
             if (norm) leave_out(layer, *norm);
           })},
          {"the experts' input", in_layers([](Block& layer) {
             replace_by(layer, layer.step_showing(Tap::kRouterInput), layer.find(Tap::kRoutedNorm));
           })},
          {"the experts' input, normalised and scaled", reads(Tap::kRoutedNorm)}};
}

std::vector<Variant> other_beside(const Circumstances& at) {
  if (!at.program.layers.front().find(Tap::kRoutedNorm)) return {};
  const auto without = [](Tap tap) {
    return in_layers([tap](Block& layer) {
      const auto norm = layer.step_showing(tap);
      if (norm) leave_out(layer, *norm);
    });
  };
  return {{"the experts' norm before them left out", without(Tap::kRoutedNorm)},
          {"the experts' norm after them left out", without(Tap::kRoutedPostNorm)},
          {"the MLP's norm after it left out", without(Tap::kSharedPostNorm)},
          {"experts read the MLP's input", in_layers([](Block& layer) {
             const auto own = layer.step_showing(Tap::kRoutedNorm);
             const auto other = layer.step_showing(Tap::kMlpNorm);
             if (own && other) layer.steps[*own].tensors = layer.steps[*other].tensors;
           })},
          {"the norms after MLP and experts exchanged", in_layers([](Block& layer) {
             const auto one = layer.step_showing(Tap::kRoutedPostNorm);
             const auto two = layer.step_showing(Tap::kSharedPostNorm);
             if (one && two) std::swap(layer.steps[*one].tensors, layer.steps[*two].tensors);
           })}};
}

void multiply_by(Block& layer, Tap tap, double factor) {
  const auto step = layer.step_showing(tap);
  if (is_multiply(layer, step)) std::get<Multiply>(layer.steps[*step].operation).factor = factor;
}

std::vector<Variant> other_inputs(const Circumstances& at) {
  if (at.spec.per_layer_input.width == 0) return {};
  const auto lookup = [](auto change) {
    return in_layers([change](Block& layer) {
      change_each<OddLookup>(layer, [&](OddLookup& own, const Step&) { change(own.lookup); });
    });
  };
  // Of the sum of the token's part and the context's.
  const auto alone = [](Tap part) {
    return in_layers([part](Block& layer) {
      const auto input = layer.step_showing(Tap::kPleInput);
      const auto from = layer.find(part);
      if (input && from && !layer.steps[*input].reads.empty()) {
        layer.steps[*input].reads[0] = *from;
      }
    });
  };
  return {{"left out", in_layers([](Block& layer) {
             replace_by(layer, layer.step_showing(Tap::kPleResidual),
                        layer.find(Tap::kMlpResidual));
           })},
          {"the token's part not times the root of its width",
           lookup([](Lookup& own) { own.scale = 1; })},
          {"the context's part not times 1/sqrt(hidden_size)", in_layers([](Block& layer) {
             leave_out_before(layer, layer.step_showing(Tap::kPleNorm), 0);
           })},
          {"the sum not times sqrt(1/2)",
           in_layers([](Block& layer) { multiply_by(layer, Tap::kPleInput, 1); })},
          {"the sum times 1/2",
           in_layers([](Block& layer) { multiply_by(layer, Tap::kPleInput, 0.5); })},
          {"without the token's part", alone(Tap::kPleNorm)},
          {"without the context's part", alone(Tap::kPleEmbedding)},
          {"the token's part of the next layer",
           lookup([](Lookup& own) { own.part = std::min(own.part + 1, own.parts - 1); })},
          {"the token's part of the layer before",
           lookup([](Lookup& own) { own.part = std::max<std::int64_t>(own.part - 1, 0); })},
          {"not added to the stream, but in its place", in_layers([](Block& layer) {
             const auto sum = layer.step_showing(Tap::kPleResidual);
             if (sum) leave_out(layer, *sum);
           })},
          {"its last norm left out", in_layers([](Block& layer) {
             const auto norm = layer.step_showing(Tap::kPlePostNorm);
             if (norm) leave_out(layer, *norm);
           })}};
}

// The step that makes a value.
std::optional<std::size_t> maker_of(const Block& layer, ValueId value) {
  const auto found = std::ranges::find_if(
      layer.steps, [value](const Step& step) { return step.writes[0] == value; });
  if (found == layer.steps.end()) return std::nullopt;
  return static_cast<std::size_t>(found - layer.steps.begin());
}

// Multiplies what the last sum adds to the stream, not the sum.
void scale_addend(Block& layer) {
  const auto last = layer.step_showing(Tap::kLayerOutput);
  if (!is_multiply(layer, last)) return;
  const auto sum = maker_of(layer, layer.steps[*last].reads[0]);
  if (!sum || !std::holds_alternative<Add>(layer.steps[*sum].operation)) return;
  const Step multiply = layer.steps[*last];
  leave_out(layer, *last);
  const ValueId added = layer.steps[*sum].reads[0];
  Value value = layer.values[added];
  value.tap.reset();
  const ValueId scaled =
      insert_step(layer, *sum, multiply.operation, {added}, std::move(value), multiply.tensors);
  layer.steps[*sum + 1].reads[0] = scaled;
}

}  // namespace

std::vector<Entry> gemma4_entries() {
  std::vector<Entry> all;
  all.push_back({.id = "kv-source",
                 .group = "attention",
                 .name = "keys and values of the wrong layer",
                 .explanation =
                     "Layers without keys and values of their own read those of the last layer of "
                     "their kind, sliding or full, that has them.",
                 .look_at = "num_kv_shared_layers, and which layer's cache is read",
                 .frequency = 3,
                 .variants = other_sources});
  all.push_back({.id = "v-norm-missing",
                 .group = "q/k norm",
                 .name = "values not normalised",
                 .explanation = "This model normalises the values of each head, without a weight.",
                 .look_at = "attention, after v_proj",
                 .frequency = 3,
                 .variants = always(in_layers([](Block& layer) {
                   const auto norm = layer.step_showing(Tap::kVNorm);
                   if (norm) leave_out(layer, *norm);
                 }))});
  all.push_back({.id = "v-norm-weighted",
                 .group = "q/k norm",
                 .name = "values normalised with a weight",
                 .explanation = "The norm of the values has no weight; here it has that of the "
                                "keys.",
                 .look_at = "the norm of the values",
                 .frequency = 2,
                 .variants = always(in_layers([](Block& layer) {
                   const auto norm = layer.step_showing(Tap::kVNorm);
                   const auto keys = layer.step_showing(Tap::kKNorm);
                   // Without a matrix of their own, see k-as-v.
                   if (norm && keys && layer.find(Tap::kVProj))
                     layer.steps[*norm].tensors = layer.steps[*keys].tensors;
                 }))});
  all.push_back(
      {.id = "k-as-v",
       .group = "attention",
       .name = "values made from finished keys",
       .explanation = "Where a layer has no v_proj, its values are k_proj's result, before the "
                      "keys are normalised and rotated.",
       .look_at = "attention_k_eq_v, and where keys become values",
       .frequency = 3,
       .variants = [](const Circumstances&) -> std::vector<Variant> {
         return {{"the normalised keys", values_from(Tap::kKNorm, false)},
                 {"the normalised keys, normalised again", values_from(Tap::kKNorm, true)},
                 {"the rotated keys", values_from(Tap::kKRope, false)},
                 {"the rotated keys, normalised again", values_from(Tap::kKRope, true)}};
       }});
  all.push_back({.id = "router-input",
                 .group = "experts",
                 .name = "wrong input of the router",
                 .explanation =
                     "This router reads the residual stream after attention, normalised without a "
                     "weight, times its own scale and 1/sqrt(hidden_size); the experts' input is "
                     "different.",
                 .look_at = "router.scale, and what the router is given",
                 .frequency = 3,
                 .variants = other_router_inputs});
  all.push_back({.id = "per-expert-scale",
                 .group = "experts",
                 .name = "experts' own factors left out",
                 .explanation = "Each expert's weight is multiplied by its per_expert_scale.",
                 .look_at = "router.per_expert_scale",
                 .frequency = 3,
                 .variants = always(in_layers([](Block& layer) {
                   const auto weights = layer.step_showing(Tap::kExpertWeights);
                   if (weights) layer.steps[*weights].tensors.clear();
                 }))});
  all.push_back({.id = "experts-beside-mlp",
                 .group = "experts",
                 .name = "wrong norm of the experts or of the MLP beside them",
                 .explanation = "MLP and experts each have a norm before and after them; then "
                                "their sum has one more.",
                 .look_at = "pre_feedforward_layernorm_2, post_feedforward_layernorm_1 and _2",
                 .frequency = 2,
                 .variants = other_beside});
  all.push_back(
      {.id = "per-layer-input",
       .group = "embedding",
       .name = "wrong per-layer input",
       .explanation =
           "Each layer adds a small embedding of its own: the token's, times the root of its "
           "width, plus the normalised projection of the main embedding / sqrt(hidden_size), the "
           "sum times sqrt(1/2); gated by the stream, projected and normalised.",
       .look_at = "embed_tokens_per_layer, per_layer_model_projection, per_layer_input_gate",
       .frequency = 3,
       .variants = other_inputs});
  all.push_back({.id = "layer-scalar",
                 .group = "residual",
                 .name = "layer's scalar wrong",
                 .explanation = "The whole stream that leaves a layer is multiplied by its "
                                "layer_scalar.",
                 .look_at = "layer_scalar, and what it multiplies",
                 .frequency = 3,
                 .variants = [](const Circumstances&) -> std::vector<Variant> {
                   return {{"left out", in_layers([](Block& layer) {
                              const auto last = layer.step_showing(Tap::kLayerOutput);
                              if (is_multiply(layer, last)) leave_out(layer, *last);
                            })},
                           {"on what is added last, not on the stream", in_layers(scale_addend)}};
                 }});
  return all;
}

}  // namespace assay
