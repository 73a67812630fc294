#include "candidate/data_flow.h"

#include <algorithm>
#include <charconv>

#include "assay/spec.h"

namespace assay {

std::int64_t TapPlace::order() const {
  constexpr std::int64_t kLast = std::int64_t{1} << 40;
  if (layer >= 0) return (layer + 1) * kTapCount + static_cast<int>(tap);
  return (tap == Tap::kEmbeddingOutput ? 0 : kLast) + static_cast<int>(tap);
}

std::optional<TapPlace> parse_tap_name(std::string_view name) {
  constexpr std::string_view kPrefix = "layer_";
  std::int64_t layer = -1;
  if (name.starts_with(kPrefix)) {
    name.remove_prefix(kPrefix.size());
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
    const auto digits = static_cast<std::size_t>(end - name.data());
    const bool is_layer = error == std::errc() && layer >= 0 && layer < kMostLayers;
    if (!is_layer || digits >= name.size() || name[digits] != '_') return std::nullopt;
    name.remove_prefix(digits + 1);
  }
  for (int t = 0; t < kTapCount; ++t) {
    const Tap tap = static_cast<Tap>(t);
    if (is_layer_tap(tap) == (layer >= 0) && tap_base_name(tap) == name)
      return TapPlace{tap, layer};
  }
  return std::nullopt;
}

std::size_t position_axis(Tap tap) {
  return tap == Tap::kAttnScores || tap == Tap::kAttnProbs ? 2 : 1;
}

ModelSpec model_of_names(const std::vector<std::string>& names) {
  ModelSpec model;
  bool before = false;
  bool after = false;
  std::vector<std::int64_t> sparse;
  for (const std::string& name : names) {
    const std::optional<TapPlace> place = parse_tap_name(name);
    if (!place) continue;
    model.num_hidden_layers = std::max(model.num_hidden_layers, place->layer + 1);
    const Tap tap = place->tap;
    if (tap == Tap::kInputNorm || tap == Tap::kMlpNorm) before = true;
    if (tap == Tap::kAttnPostNorm || tap == Tap::kMlpPostNorm) after = true;
    if (tap == Tap::kQNorm || tap == Tap::kKNorm) model.qk_norm = true;
    if (tap == Tap::kRouterLogits || tap == Tap::kExpertIds || tap == Tap::kExpertWeights) {
      sparse.push_back(place->layer);
    }
  }
  model.norms = !after ? Norms::kBefore : before ? Norms::kAround : Norms::kAfter;
  model.moe.num_experts = sparse.empty() ? 0 : 1;
  model.sparse_layers.resize(static_cast<std::size_t>(model.num_hidden_layers));
  for (const std::int64_t l : sparse) model.sparse_layers[static_cast<std::size_t>(l)] = true;
  return model;
}

namespace {

// As if the model had every tap; in a sparse layer those of its experts.
std::vector<TapPlace> producers(const TapPlace& place, const ModelSpec& model) {
  const std::int64_t l = place.layer;
  const TapPlace before =
      l == 0 ? TapPlace{Tap::kEmbeddingOutput, -1} : TapPlace{Tap::kLayerOutput, l - 1};
  const bool sparse = l >= 0 && model.is_sparse(l);
  switch (place.tap) {
    case Tap::kEmbeddingOutput:
      return {};
    case Tap::kInputNorm:
      return {before};
    case Tap::kQProj:
    case Tap::kKProj:
    case Tap::kVProj:
      return {{Tap::kInputNorm, l}};
    case Tap::kQNorm:
      return {{Tap::kQProj, l}};
    case Tap::kKNorm:
      return {{Tap::kKProj, l}};
    case Tap::kQRope:
      return {{Tap::kQNorm, l}};
    case Tap::kKRope:
      return {{Tap::kKNorm, l}};
    case Tap::kAttnScores:
      return {{Tap::kQRope, l}, {Tap::kKRope, l}};
    case Tap::kAttnProbs:
      return {{Tap::kAttnScores, l}};
    case Tap::kAttnContext:
      return {{Tap::kAttnProbs, l}, {Tap::kVProj, l}};
    case Tap::kAttnOutput:
      return {{Tap::kAttnContext, l}};
    case Tap::kAttnPostNorm:
      return {{Tap::kAttnOutput, l}};
    case Tap::kAttnResidual:
      return {{Tap::kAttnPostNorm, l}, before};
    case Tap::kMlpNorm:
      return {{Tap::kAttnResidual, l}};
    case Tap::kRouterLogits:
      return {{Tap::kMlpNorm, l}};
    case Tap::kExpertIds:
      return {{Tap::kRouterLogits, l}};
    case Tap::kExpertWeights:
      return {{Tap::kRouterLogits, l}, {Tap::kExpertIds, l}};
    case Tap::kGateProj:
    case Tap::kUpProj:
      if (sparse) return {{Tap::kMlpNorm, l}, {Tap::kExpertIds, l}};
      return {{Tap::kMlpNorm, l}};
    case Tap::kMlpAct:
      return {{Tap::kGateProj, l}, {Tap::kUpProj, l}};
    case Tap::kMlpOutput:
      if (sparse) return {{Tap::kMlpAct, l}, {Tap::kExpertIds, l}, {Tap::kExpertWeights, l}};
      return {{Tap::kMlpAct, l}};
    case Tap::kMlpPostNorm:
      return {{Tap::kMlpOutput, l}};
    case Tap::kLayerOutput:
      return {{Tap::kMlpPostNorm, l}, {Tap::kAttnResidual, l}};
    case Tap::kFinalNormOutput:
      return {{Tap::kLayerOutput, model.num_hidden_layers - 1}};
    case Tap::kLogits:
      return {{Tap::kFinalNormOutput, -1}};
  }
  return {};
}

}  // namespace

std::vector<TapPlace> computed_from(const TapPlace& place, const ModelSpec& model) {
  std::vector<TapPlace> result;
  for (const TapPlace& from : producers(place, model)) {
    // What stands between in other models is passed through.
    if (has_tap(from.tap, from.layer, model)) {
      result.push_back(from);
    } else {
      for (const TapPlace& earlier : computed_from(from, model)) result.push_back(earlier);
    }
  }
  return result;
}

}  // namespace assay
