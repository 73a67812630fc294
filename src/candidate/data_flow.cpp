#include "candidate/data_flow.h"

#include <algorithm>

#include "models/program.h"
#include "models/spec.h"

namespace assay {

ModelSpec model_of_names(const std::vector<std::string>& names) {
  ModelSpec model;
  bool before = false;
  bool after = false;
  bool gemma4 = false;
  std::vector<std::int64_t> sparse, linear;
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
    if (tap == Tap::kRouterScores) model.moe.router.bias = RouterSpec::Bias::kOwnType;
    if (tap == Tap::kRoutedOutput || tap == Tap::kSharedOutput) model.moe.shared_size = 1;
    if (tap == Tap::kVNorm || tap == Tap::kMlpResidual) gemma4 = true;
    if (tap >= Tap::kPleEmbedding && tap <= Tap::kPleResidual) model.per_layer_input.width = 1;
    if (tap == Tap::kSharedGate) model.moe.shared_gated = true;
    if (tap == Tap::kAttnGate || tap == Tap::kAttnGated) model.attention.gated = true;
    if (tap >= Tap::kGdnQkv && tap <= Tap::kGdnOutput) linear.push_back(place->layer);
  }
  // A type whose layers have norms in these places.
  model.attention.v_norm = gemma4;
  model.model_type = gemma4 ? "gemma4_text" : !after ? "llama" : before ? "gemma2" : "olmo2";
  model.moe.num_experts = sparse.empty() ? 0 : 1;
  model.sparse_layers.resize(static_cast<std::size_t>(model.num_hidden_layers));
  for (const std::int64_t l : sparse) model.sparse_layers[static_cast<std::size_t>(l)] = true;
  if (linear.empty()) return model;
  model.linear_layers.resize(model.sparse_layers.size());
  for (const std::int64_t l : linear) model.linear_layers[static_cast<std::size_t>(l)] = true;
  return model;
}

bool has_norms_after(const ModelSpec& model) {
  const Block layer = layer_of(model, 0);
  return layer.find(Tap::kAttnPostNorm) || layer.find(Tap::kMlpPostNorm);
}

TapPlace stream_into(std::int64_t layer) {
  return layer == 0 ? TapPlace{Tap::kEmbeddingOutput, -1} : TapPlace{Tap::kLayerOutput, layer - 1};
}

namespace {

// Passes through values that have no tap.
void add_sources(const Block& block, const TapPlace& place, const TapPlace& stream, ValueId value,
                 std::vector<TapPlace>& all) {
  if (value == 0) return all.push_back(stream);
  if (const Import* import = block.import_of(value)) return all.push_back(import->from);
  const auto step = std::ranges::find_if(
      block.steps, [value](const Step& s) { return std::ranges::count(s.writes, value) > 0; });
  for (const ValueId read : step->reads) {
    if (block.values[read].tap) {
      all.push_back({*block.values[read].tap, place.layer});
    } else {
      add_sources(block, place, stream, read, all);
    }
  }
}

}  // namespace

std::vector<TapPlace> computed_from(const TapPlace& place, const ModelSpec& model) {
  if (place.tap == Tap::kEmbeddingOutput) return {};
  const bool of_layer = is_layer_tap(place.tap);
  const Block block = of_layer ? layer_of(model, place.layer) : head_of(model);
  const std::optional<ValueId> value = block.find(place.tap);
  std::vector<TapPlace> all;
  if (value) {
    const std::int64_t layer = of_layer ? place.layer : model.num_hidden_layers;
    add_sources(block, place, stream_into(layer), *value, all);
  }
  return all;
}

}  // namespace assay
