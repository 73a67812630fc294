#include "diagnose/hypothesis.h"

#include <algorithm>

namespace assay {

void apply_in(std::span<const std::int64_t> layers, const Change& change, Hypothesis& hypothesis) {
  const auto changed = [&](const ModelSpec& spec) {
    Hypothesis own{spec};
    change(own);
    return own.spec;
  };
  if (layers.empty()) {
    // A layer's own spec stays its own, with the change.
    for (ModelSpec& spec : hypothesis.layer_specs) spec = changed(spec);
    change(hypothesis);
    return;
  }
  Hypothesis whole = hypothesis;
  change(whole);
  if (whole.spec != hypothesis.spec) {
    if (hypothesis.layer_specs.empty()) {
      hypothesis.layer_specs.assign(static_cast<std::size_t>(hypothesis.spec.num_hidden_layers),
                                    hypothesis.spec);
    }
    for (const std::int64_t l : layers) {
      ModelSpec& spec = hypothesis.layer_specs.at(static_cast<std::size_t>(l));
      spec = changed(spec);
    }
  }
  for (std::size_t i = hypothesis.weights.size(); i < whole.weights.size(); ++i) {
    WeightChange change_there = whole.weights[i];
    std::vector<std::int64_t> there;
    std::ranges::copy_if(layers, std::back_inserter(there), [&](std::int64_t l) {
      return change_there.layers.empty() || std::ranges::count(change_there.layers, l) > 0;
    });
    if (there.empty()) continue;
    change_there.layers = std::move(there);
    hypothesis.weights.push_back(std::move(change_there));
  }
  hypothesis.held = whole.held;
  hypothesis.operations = whole.operations;
}

}  // namespace assay
