#include "verify/divergence.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

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
    bool gap = false;
    const std::vector<std::string> good = compared_before(*place, gap);
    if (good.empty()) {
      return place->tap == Tap::kEmbeddingOutput
                 ? "the first tap of all: look at the embedding lookup and the token ids"
                 : fmt::format("nothing before {} was compared", tensor.name);
    }
    const std::string before = fmt::format("{}", fmt::join(good, ", "));
    const char* verb = good.size() == 1 ? "passes" : "pass";
    if (!gap) return fmt::format("{} {}: look at {}", before, verb, operation_of(*place));
    std::string text = fmt::format("{} {}: the fault lies between", before, verb);
    if (place->layer >= 0) {
      text += fmt::format(
          "; extract with --taps 'layer_{:02}_*' and dump the same to see which "
          "operation it is",
          place->layer);
    }
    return text;
  }

 private:
  // The nearest taps before it that were compared; gap: others lie in between.
  std::vector<std::string> compared_before(const TapPlace& place, bool& gap) const {
    std::set<std::string> found;
    std::vector<TapPlace> open = computed_from(place, model_);
    std::set<std::int64_t> seen;
    while (!open.empty()) {
      const TapPlace at = open.back();
      open.pop_back();
      if (!seen.insert(at.order()).second) continue;
      const std::string name = tap_name(at.tap, at.layer, model_);
      const auto tensor = std::ranges::find(tensors_, name, &TensorResult::name);
      if (tensor != tensors_.end() && tensor->verdict != Verdict::kNotCompared) {
        found.insert(name);
        continue;
      }
      gap = true;
      for (const TapPlace& before : computed_from(at, model_)) open.push_back(before);
    }
    return {found.begin(), found.end()};
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
    case Tap::kRouterLogits:
      return "the router's projection";
    case Tap::kExpertIds:
      return "the choice of experts (softmax, the greatest ones)";
    case Tap::kExpertWeights:
      return "the weights of the chosen experts (softmax, norm_topk_prob)";
    case Tap::kMlpAct:
      return "the activation of gate times up";
    case Tap::kMlpOutput:
      return "the down_proj projection";
    case Tap::kLayerOutput:
      return "the residual add after the MLP";
    case Tap::kFinalNormOutput:
      return "the final RMSNorm";
    case Tap::kLogits:
      return "the lm_head";
  }
  return "?";
}

std::vector<TensorResult> list_tensors(const ArrayFile& reference) {
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

void find_first_divergence(PromptResult& result, std::int64_t layers) {
  const auto first = std::ranges::find_if(result.tensors, is_bad);
  if (first == result.tensors.end()) return;
  result.first_divergence = static_cast<std::size_t>(first - result.tensors.begin());
  result.divergence_text = Divergence(result.tensors, layers).describe(*first);
}

bool passed(const PromptResult& prompt) {
  const bool bad = std::ranges::any_of(prompt.tensors, is_bad);
  const bool other_text = std::ranges::any_of(
      prompt.tokens.steps, [&](const TokenStep& s) { return is_wrong(prompt.tokens, s); });
  return !bad && !other_text;
}

bool compared_anything(const PromptResult& prompt) {
  return prompt.tokens.compared || std::ranges::any_of(prompt.tensors, [](const TensorResult& t) {
           return t.name != "input_ids" && t.verdict != Verdict::kNotCompared;
         });
}

}  // namespace assay
