#include "verify/data_flow.h"

#include <charconv>

#include "assay/spec.h"

namespace assay {

std::int64_t TapPlace::order() const {
  constexpr std::int64_t kLast = std::int64_t{1} << 40;
  if (layer >= 0) return (layer + 1) * kTapCount + static_cast<int>(tap);
  return (tap == Tap::kEmbeddingOutput ? 0 : kLast) + static_cast<int>(tap);
}

std::string_view tap_base_name(Tap tap) {
  static const std::vector<std::string> names = [] {
    ModelSpec spec;
    spec.num_hidden_layers = 1;
    std::vector<std::string> all;
    for (int t = 0; t < kTapCount; ++t) {
      std::string name = tap_name(static_cast<Tap>(t), 0, spec);
      constexpr std::string_view kPrefix = "layer_00_";
      if (name.starts_with(kPrefix)) name.erase(0, kPrefix.size());
      all.push_back(std::move(name));
    }
    return all;
  }();
  return names[static_cast<std::size_t>(tap)];
}

std::optional<TapPlace> parse_tap_name(std::string_view name) {
  constexpr std::string_view kPrefix = "layer_";
  std::int64_t layer = -1;
  if (name.starts_with(kPrefix)) {
    name.remove_prefix(kPrefix.size());
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
    const auto digits = static_cast<std::size_t>(end - name.data());
    if (error != std::errc() || layer < 0 || digits >= name.size() || name[digits] != '_') {
      return std::nullopt;
    }
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

std::vector<TapPlace> computed_from(const TapPlace& place, std::int64_t layers, bool qk_norm) {
  const std::int64_t l = place.layer;
  const TapPlace before =
      l == 0 ? TapPlace{Tap::kEmbeddingOutput, -1} : TapPlace{Tap::kLayerOutput, l - 1};
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
      return {{qk_norm ? Tap::kQNorm : Tap::kQProj, l}};
    case Tap::kKRope:
      return {{qk_norm ? Tap::kKNorm : Tap::kKProj, l}};
    case Tap::kAttnScores:
      return {{Tap::kQRope, l}, {Tap::kKRope, l}};
    case Tap::kAttnProbs:
      return {{Tap::kAttnScores, l}};
    case Tap::kAttnContext:
      return {{Tap::kAttnProbs, l}, {Tap::kVProj, l}};
    case Tap::kAttnOutput:
      return {{Tap::kAttnContext, l}};
    case Tap::kAttnResidual:
      return {{Tap::kAttnOutput, l}, before};
    case Tap::kMlpNorm:
      return {{Tap::kAttnResidual, l}};
    case Tap::kGateProj:
    case Tap::kUpProj:
      return {{Tap::kMlpNorm, l}};
    case Tap::kMlpAct:
      return {{Tap::kGateProj, l}, {Tap::kUpProj, l}};
    case Tap::kMlpOutput:
      return {{Tap::kMlpAct, l}};
    case Tap::kLayerOutput:
      return {{Tap::kMlpOutput, l}, {Tap::kAttnResidual, l}};
    case Tap::kFinalNormOutput:
      return {{Tap::kLayerOutput, layers - 1}};
    case Tap::kLogits:
      return {{Tap::kFinalNormOutput, -1}};
  }
  return {};
}

}  // namespace assay
