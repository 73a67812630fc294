#include "rewrite/rewritten.h"

#include <algorithm>
#include <stdexcept>

#include "model/executor.h"

namespace assay {
namespace {

const Weight& weight_of(const TensorUse& tensor, const Block& own, const BlockWeights& weights) {
  for (std::size_t s = 0; s < own.steps.size(); ++s) {
    const auto found = std::ranges::find(own.steps[s].tensors, tensor);
    if (found == own.steps[s].tensors.end()) continue;
    return weights[s][static_cast<std::size_t>(found - own.steps[s].tensors.begin())];
  }
  throw std::logic_error("no such tensor in the block: " + tensor.name);
}

}  // namespace

BlockWeights weights_of(const Block& rewritten, const Block& own, const BlockWeights& weights) {
  BlockWeights all;
  for (const Step& step : rewritten.steps) {
    std::vector<Weight>& of_step = all.emplace_back();
    if (step.tensors.empty()) continue;
    // Most steps are unchanged; comparing them first saves searching an MoE's hundreds of tensors.
    const auto same = std::ranges::find(own.steps, step.tensors, &Step::tensors);
    if (same != own.steps.end()) {
      of_step = weights[static_cast<std::size_t>(same - own.steps.begin())];
      continue;
    }
    for (const TensorUse& tensor : step.tensors) {
      of_step.push_back(weight_of(tensor, own, weights));
    }
  }
  return all;
}

const BlockWeights& RewrittenWeights::operator()(std::int64_t which) {
  using Any = Executor<F32>;
  const ProgramWeights& own = model_.weights;
  if (which == Any::kEmbedding) {
    current_ = weights_of(program_.embedding, model_.program.embedding, own.embedding);
  } else if (which == Any::kHead) {
    current_ = weights_of(program_.head, model_.program.head, own.head);
  } else {
    const auto l = static_cast<std::size_t>(which);
    current_ = weights_of(program_.layers[l], model_.program.layers[l], own.layers[l]);
  }
  return current_;
}

}  // namespace assay
