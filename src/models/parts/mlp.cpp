#include "models/parts/mlp.h"

#include <string>

namespace assay {
namespace {

ValueId dense(Builder& b, ValueId x, const MlpTensors& names) {
  const ModelSpec& s = b.spec();
  const std::int64_t width = s.intermediate_size;
  std::vector<TensorUse> tensors;
  if (!names.fused.empty()) {
    for (const std::int64_t first : {std::int64_t{0}, width}) {
      TensorUse part = b.matrix("mlp." + std::string(names.fused), width, s.hidden_size);
      part.first = first;
      part.stored = 2 * width;
      tensors.push_back(std::move(part));
    }
  } else {
    for (const std::string name : {"mlp.gate_proj", "mlp.up_proj"}) {
      tensors.push_back(b.matrix(name, width, s.hidden_size));
      if (s.mlp_bias) tensors.push_back(b.bias(name, width));
    }
  }
  const std::vector<ValueId> both = b.steps(
      Linear{}, {x}, {{{width}, Tap::kGateProj}, {{width}, Tap::kUpProj}}, std::move(tensors));
  const ValueId act = b.step(Gate{s.mlp.activation}, both, {{width}, Tap::kMlpAct});
  std::vector<TensorUse> down = {b.matrix("mlp.down_proj", s.hidden_size, width)};
  if (s.mlp_bias) down.push_back(b.bias("mlp.down_proj", s.hidden_size));
  return b.step(Linear{}, {act}, {{s.hidden_size}, Tap::kMlpOutput}, std::move(down));
}

ValueId sparse(Builder& b, ValueId x) {
  const ModelSpec& s = b.spec();
  const MoeSpec& moe = s.moe;
  const std::int64_t k = moe.num_experts_per_tok;
  const std::int64_t width = moe.intermediate_size;
  const ValueId logits = b.step(Linear{}, {x}, {{moe.num_experts}, Tap::kRouterLogits},
                                {b.matrix("mlp.gate", moe.num_experts, s.hidden_size)});
  const ValueId ids = b.step(TopExperts{moe.num_experts, k}, {logits}, {{k}, Tap::kExpertIds});
  const ValueId weights =
      b.step(ExpertWeights{moe.norm_topk_prob}, {logits, ids}, {{k}, Tap::kExpertWeights});
  const auto of_experts = [&](std::string_view name, std::int64_t rows, std::int64_t cols) {
    TensorUse tensor = b.matrix("mlp.experts.{}." + std::string(name), rows, cols);
    tensor.count = moe.num_experts;
    return tensor;
  };
  std::vector<TensorUse> in = {of_experts("gate_proj", width, s.hidden_size),
                               of_experts("up_proj", width, s.hidden_size)};
  std::vector<TensorUse> out = {of_experts("down_proj", s.hidden_size, width)};
  const ExpertLinear linear{moe.num_experts, k};
  const std::vector<ValueId> both = b.steps(
      linear, {x, ids}, {{{k, width}, Tap::kGateProj}, {{k, width}, Tap::kUpProj}}, std::move(in));
  const ValueId act = b.step(Gate{s.mlp.activation}, both, {{k, width}, Tap::kMlpAct});
  const ValueId outputs =
      b.step(linear, {act, ids}, {{k, s.hidden_size}, std::nullopt}, std::move(out));
  return b.step(SumExperts{}, {outputs, weights}, {{s.hidden_size}, Tap::kMlpOutput});
}

}  // namespace

ValueId mlp(Builder& b, ValueId x, const MlpTensors& tensors) {
  return b.spec().is_sparse(b.layer()) ? sparse(b, x) : dense(b, x, tensors);
}

}  // namespace assay
