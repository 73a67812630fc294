#include "verify/divergence.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <unordered_set>

#include "base/text.h"
#include "candidate/data_flow.h"

namespace assay {
namespace {

class Divergence {
 public:
  Divergence(const std::vector<TensorResult>& tensors, std::int64_t layers)
      : tensors_(tensors), model_(model_of_names(names_of(tensors))) {
    model_.num_hidden_layers = layers;
    model_.sparse_layers.resize(static_cast<std::size_t>(layers));
  }

  std::string describe(const TensorResult& tensor) const {
    const std::optional<TapPlace> place = parse_tap_name(tensor.name);
    if (tensor.verdict == Verdict::kError || !place) return tensor.reason;
    const Upstream before = upstream_of(*place, model_, [&](const TapPlace& at) {
      const auto found =
          std::ranges::find(tensors_, tap_name(at.tap, at.layer, model_), &TensorResult::name);
      return found != tensors_.end() && found->verdict != Verdict::kNotCompared;
    });
    const std::string operation = operation_of(*place, before, model_);
    std::vector<std::string> good;
    for (const TapPlace& at : before.nearest) good.push_back(tap_name(at.tap, at.layer, model_));
    if (good.empty()) {
      return place->tap == Tap::kEmbeddingOutput
                 ? "the first tap of all: look at the embedding lookup and the token ids"
                 : fmt::format("nothing before {} was compared: the fault lies {}", tensor.name,
                               operation);
    }
    std::string text =
        fmt::format("{} {}: ", fmt::join(good, ", "), good.size() == 1 ? "passes" : "pass");
    if (!before.gap) return text + fmt::format("look at {}", operation);
    text += fmt::format("the fault lies {}", operation);
    if (place->layer < 0) return text;
    const std::size_t length = tensor.name.size() - tap_base_name(place->tap).size();
    const std::string layer = tensor.name.substr(0, length) + '*';
    text += has_more_of(*place)
                ? fmt::format("; dump the reference's other {} too", layer)
                : fmt::format("; extract with --taps '{}' and dump the same", layer);
    return text + " to see which operation it is";
  }

 private:
  // Whether the reference has taps of this layer that the candidate lacks.
  bool has_more_of(const TapPlace& place) const {
    return std::ranges::any_of(tensors_, [&](const TensorResult& t) {
      return t.layer == place.layer && t.verdict == Verdict::kNotCompared;
    });
  }

  static std::vector<std::string> names_of(const std::vector<TensorResult>& tensors) {
    std::vector<std::string> names;
    for (const TensorResult& tensor : tensors) names.push_back(tensor.name);
    return names;
  }

  const std::vector<TensorResult>& tensors_;
  ModelSpec model_;
};

bool is_bad(const TensorResult& t) {
  return t.verdict == Verdict::kFail || t.verdict == Verdict::kError;
}

std::vector<TensorResult> list_modules(const ModuleFlow& modules) {
  std::vector<TensorResult> tensors;
  // The tokens come first: if they differ, nothing else means anything.
  if (modules.find("input_ids") != nullptr) tensors.emplace_back().name = "input_ids";
  for (const ModuleArray& array : modules.arrays()) {
    if (array.name == "input_ids") continue;
    TensorResult& tensor = tensors.emplace_back();
    tensor.name = array.name;
    tensor.block = array.block;
    tensor.module = array.made_by();
    const std::optional<TapPlace> place = parse_tap_name(array.name);
    if (place && place->layer >= 0) tensor.layer = place->layer;
  }
  return tensors;
}

// The same for an array of a captured reference, by its own data flow.
std::string describe(const TensorResult& tensor, const std::vector<TensorResult>& tensors,
                     const ModuleFlow& modules) {
  const ModuleArray* array = modules.find(tensor.name);
  if (tensor.verdict == Verdict::kError || array == nullptr || array->kind == "input") {
    return tensor.reason;
  }
  std::unordered_set<std::string_view> compared;
  for (const TensorResult& other : tensors) {
    if (other.verdict != Verdict::kNotCompared) compared.insert(other.name);
  }
  const ModuleFlow::Upstream before = modules.upstream_of(
      *array, [&](const ModuleArray& other) { return compared.contains(other.name); });
  // Few of the many that a step of a long recurrence may read.
  constexpr std::size_t kMost = 6;
  std::vector<std::string> good;
  for (const std::size_t at : before.nearest) {
    if (good.size() < kMost) good.push_back(shown(modules.arrays()[at].name, 200));
  }
  const std::size_t more = before.nearest.size() - good.size();
  const std::string names =
      fmt::format("{}{}", fmt::join(good, ", "), more > 0 ? fmt::format(" and {} more", more) : "");
  if (good.empty()) {
    return before.gap
               ? fmt::format("nothing before it was compared: the fault lies in {} or before",
                             array->made_by())
               : fmt::format("it is computed from no other array: look at {}", array->made_by());
  }
  const std::string text =
      fmt::format("{} {}: ", names, before.nearest.size() == 1 ? "passes" : "pass");
  return before.gap ? fmt::format("{}the fault lies between there and {}", text, array->made_by())
                    : fmt::format("{}look at {}", text, array->made_by());
}

}  // namespace

std::string operation_of(const TapPlace& place) {
  switch (place.tap) {
    case Tap::kEmbeddingOutput:
      return "the embedding lookup";
    case Tap::kInputNorm:
      return "the RMSNorm before attention";
    case Tap::kQProj:
    case Tap::kKProj:
    case Tap::kVProj:
    case Tap::kGateProj:
    case Tap::kUpProj:
      return fmt::format("the {} projection", tap_base_name(place.tap));
    case Tap::kQNorm:
      return "the RMSNorm of the queries";
    case Tap::kKNorm:
      return "the RMSNorm of the keys";
    case Tap::kVNorm:
      return "the RMSNorm of the values, which has no weight";
    case Tap::kQRope:
      return "the rotary embedding of the queries";
    case Tap::kKRope:
      return "the rotary embedding of the keys";
    case Tap::kAttnScores:
      return "the attention scores (scale, head mapping, mask)";
    case Tap::kAttnProbs:
      return "the softmax over the scores";
    case Tap::kAttnContext:
      return "the probabilities times the values (head mapping, joining of heads)";
    case Tap::kAttnGate:
      return "the gate of attention, which q_proj has after each head's queries";
    case Tap::kAttnGated:
      return "the attention's result times the sigmoid of its gate";
    case Tap::kGdnQkv:
    case Tap::kGdnZ:
    case Tap::kGdnB:
    case Tap::kGdnA:
      return fmt::format("the {} projection", tap_base_name(place.tap));
    case Tap::kGdnConv:
      return "the causal convolution and its silu";
    case Tap::kGdnBeta:
      return "the sigmoid of gdn_b";
    case Tap::kGdnDecay:
      return "the decay (A_log, dt_bias, softplus, sign)";
    case Tap::kGdnCore:
      return "the gated delta rule (normalised queries and keys, state, decay, beta)";
    case Tap::kGdnNorm:
      return "the RMSNorm of each head, times silu of gdn_z";
    case Tap::kGdnOutput:
      return "the out_proj projection";
    case Tap::kAttnOutput:
      return "the o_proj projection";
    case Tap::kAttnPostNorm:
      return "the RMSNorm after attention";
    case Tap::kMlpPostNorm:
      return "the RMSNorm after the MLP";
    case Tap::kAttnResidual:
      return "the residual add after attention";
    case Tap::kMlpNorm:
      return "the RMSNorm before the MLP";
    case Tap::kRoutedNorm:
      return "the experts' own RMSNorm of the stream after attention";
    case Tap::kRouterNorm:
      return "the router's RMSNorm of the stream after attention, which has no weight";
    case Tap::kRouterInput:
      return "the scale of the router's input, and 1 / sqrt(hidden_size)";
    case Tap::kRouterLogits:
      return "the router's projection";
    case Tap::kRouterScores:
      return "the router's scores (softmax or sigmoid, the correction's bias)";
    case Tap::kExpertIds:
      return "the choice of experts (softmax or sigmoid, the greatest ones)";
    case Tap::kExpertWeights:
      return "the weights of the chosen experts (softmax or sigmoid, their sum, a factor)";
    case Tap::kRoutedOutput:
      return "the experts' down_proj, their weights and their sum";
    case Tap::kRoutedPostNorm:
      return "the RMSNorm after the experts";
    case Tap::kSharedGateProj:
    case Tap::kSharedUpProj:
      return "the shared expert's projections";
    case Tap::kSharedMlpAct:
      return "the shared expert's activation of gate times up";
    case Tap::kSharedOutput:
      return "the shared expert's down_proj projection";
    case Tap::kSharedGate:
      return "the projection that gates the shared expert";
    case Tap::kSharedPostNorm:
      return "the RMSNorm after the MLP that all tokens pass through";
    case Tap::kMlpAct:
      return "the activation of gate times up";
    case Tap::kMlpOutput:
      return "the down_proj projection";
    case Tap::kMlpResidual:
      return "the residual add after the MLP";
    case Tap::kPleEmbedding:
      return "the layer's part of the token's row in embed_tokens_per_layer, times the root of its "
             "width";
    case Tap::kPleContext:
      return "the layer's rows of per_layer_model_projection, on the embedding";
    case Tap::kPleNorm:
      return "the factor 1 / sqrt(hidden_size) and per_layer_projection_norm";
    case Tap::kPleInput:
      return "the sum of ple_embedding and ple_norm, times sqrt(1/2)";
    case Tap::kPleGate:
      return "the per_layer_input_gate projection";
    case Tap::kPleAct:
      return "the activation of ple_gate, times ple_input";
    case Tap::kPleOutput:
      return "the per_layer_projection projection";
    case Tap::kPlePostNorm:
      return "the RMSNorm after per_layer_projection";
    case Tap::kPleResidual:
      return "the residual add of the per-layer input";
    case Tap::kLayerOutput:
      return "the residual add after the MLP";
    case Tap::kFinalNormOutput:
      return "the final RMSNorm";
    case Tap::kLogits:
      return "the lm_head";
  }
  return "?";
}

namespace {

// Visits the taps that it is computed from, near and far, until until() says so; not `from` itself.
void walk_back(const TapPlace& from, const ModelSpec& model,
               const std::function<bool(const TapPlace&)>& until) {
  std::vector<TapPlace> open = computed_from(from, model);
  std::set<std::int64_t> seen;
  while (!open.empty()) {
    const TapPlace at = open.back();
    open.pop_back();
    if (!seen.insert(at.order()).second || until(at)) continue;
    for (const TapPlace& before : computed_from(at, model)) open.push_back(before);
  }
}

std::string name_beside(const TapPlace& place, const TapPlace& other, const ModelSpec& model) {
  if (place.tap == Tap::kLogits) return "the logits";
  if (place.layer == other.layer) return std::string(tap_base_name(place.tap));
  return tap_name(place.tap, place.layer, model);
}

}  // namespace

Upstream upstream_of(const TapPlace& place, const ModelSpec& model,
                     const std::function<bool(const TapPlace&)>& is_there) {
  Upstream upstream;
  walk_back(place, model, [&](const TapPlace& at) {
    if (is_there(at)) {
      upstream.nearest.push_back(at);
      return true;
    }
    upstream.gap = true;
    return false;
  });
  std::ranges::sort(upstream.nearest);
  return upstream;
}

std::string operation_of(const TapPlace& place, const Upstream& upstream, const ModelSpec& model) {
  if (!upstream.gap) return operation_of(place);
  if (upstream.nearest.empty()) {
    return fmt::format("somewhere before {}", place.tap == Tap::kLogits
                                                  ? "the logits"
                                                  : tap_name(place.tap, place.layer, model));
  }
  // Drop taps that another of them is computed from.
  std::vector<TapPlace> last = upstream.nearest;
  for (const TapPlace& later : upstream.nearest) {
    walk_back(later, model, [&](const TapPlace& at) {
      std::erase(last, at);
      return false;
    });
  }
  std::vector<std::string> names;
  for (const TapPlace& before : last) names.push_back(name_beside(before, place, model));
  return fmt::format("between {} and {}", fmt::join(names, ", "),
                     name_beside(place, last.front(), model));
}

std::vector<TensorResult> list_tensors(const ArrayFile& reference, const ModuleFlow* modules) {
  if (modules != nullptr) return list_modules(*modules);
  std::vector<std::pair<TapPlace, std::string>> taps;
  std::vector<TensorResult> tensors;
  if (reference.contains("input_ids")) tensors.emplace_back().name = "input_ids";
  for (const std::string& name : reference.names()) {
    if (const auto place = parse_tap_name(name)) taps.emplace_back(*place, name);
  }
  std::ranges::stable_sort(taps, [](const auto& a, const auto& b) { return a.first < b.first; });
  for (const auto& [place, name] : taps) {
    TensorResult& tensor = tensors.emplace_back();
    tensor.name = name;
    if (place.layer >= 0) tensor.layer = place.layer;
  }
  for (const std::string& name : reference.names()) {
    if (name.starts_with("rope_")) tensors.emplace_back().name = name;
  }
  return tensors;
}

void find_first_divergence(PromptResult& result, std::int64_t layers, const ModuleFlow* modules) {
  const auto first = std::ranges::find_if(result.tensors, is_bad);
  if (first == result.tensors.end()) return;
  result.first_divergence = static_cast<std::size_t>(first - result.tensors.begin());
  result.divergence_text = modules != nullptr ? describe(*first, result.tensors, *modules)
                                              : Divergence(result.tensors, layers).describe(*first);
}

bool passed(const PromptResult& prompt) {
  const bool bad = std::ranges::any_of(prompt.tensors, is_bad);
  return !bad && prompt.tokens.verdict != Verdict::kFail &&
         prompt.tokens.verdict != Verdict::kError;
}

bool is_coarse(const PromptResult& prompt) {
  return std::ranges::any_of(prompt.tensors,
                             [](const TensorResult& t) { return t.verdict == Verdict::kCoarse; });
}

bool compared_anything(const PromptResult& prompt) {
  return prompt.tokens.compared || std::ranges::any_of(prompt.tensors, [](const TensorResult& t) {
           return t.name != "input_ids" && t.verdict != Verdict::kNotCompared;
         });
}

}  // namespace assay
