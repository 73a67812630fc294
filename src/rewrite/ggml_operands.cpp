#include "rewrite/ggml_operands.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "formats/gguf_parts.h"
#include "models/gguf_config.h"
#include "models/gguf_names.h"
#include "models/model_type.h"

namespace assay {
namespace {

// ggml's vec_dot_type.
OperandType operand_of(GgmlType weights) {
  switch (weights) {
    case GgmlType::kF32:
      return OperandType::kOwn;
    case GgmlType::kF16:
      return OperandType::kF16;
    case GgmlType::kBF16:
      return OperandType::kBf16;
    case GgmlType::kQ4_0:
    case GgmlType::kQ4_1:
    case GgmlType::kQ5_0:
    case GgmlType::kQ5_1:
    case GgmlType::kQ8_0:
    case GgmlType::kIQ4_NL:
    case GgmlType::kMXFP4:
      return OperandType::kQ8Of32;
    case GgmlType::kQ2_K:
    case GgmlType::kQ3_K:
    case GgmlType::kQ4_K:
    case GgmlType::kQ5_K:
    case GgmlType::kQ6_K:
    case GgmlType::kIQ1_S:
    case GgmlType::kIQ1_M:
    case GgmlType::kIQ2_XXS:
    case GgmlType::kIQ2_XS:
    case GgmlType::kIQ2_S:
    case GgmlType::kIQ3_XXS:
    case GgmlType::kIQ3_S:
    case GgmlType::kIQ4_XS:
    case GgmlType::kTQ1_0:
    case GgmlType::kTQ2_0:
      return OperandType::kQ8Of256;
  }
  return OperandType::kOwn;
}

void add(HeldValues held, std::vector<HeldValues>& all) {
  const auto same = std::ranges::find_if(all, [&](const HeldValues& known) {
    return known.operand == held.operand && known.type == held.type && known.other == held.other;
  });
  if (same == all.end()) {
    all.push_back(std::move(held));
  } else {
    same->layers.insert(same->layers.end(), held.layers.begin(), held.layers.end());
  }
}

}  // namespace

std::vector<HeldValues> ggml_operands(const Model& model) {
  const auto file = gguf_file_of(model.directory);
  if (!file) return {};
  const GgufParts parts(*file);
  const std::span<const GgufName> names = gguf_type(parts.head()).gguf.names;
  std::vector<HeldValues> all;
  const auto add_all = [&](Operand operand, const Block& block, std::vector<std::int64_t> where) {
    for (const Step& step : block.steps) {
      if (operand_of(block, step) != operand) continue;
      const auto name = gguf_name_of(step.tensors.front().name, names);
      const GgufTensor* tensor = name ? parts.find(*name) : nullptr;
      if (tensor == nullptr) continue;
      const OperandType type = operand_of(tensor->type);
      if (type == OperandType::kOwn) continue;
      HeldValues held = held_operand(operand, type);
      held.layers = where;
      // These types multiply with Q8_1, whose sums use the unrounded scale in part of the product.
      const bool sums = tensor->type == GgmlType::kQ4_1 || tensor->type == GgmlType::kQ5_1;
      if (sums) held.other = OperandType::kQ8Of32Exact;
      add(std::move(held), all);
    }
  };
  for (const Operand operand :
       {Operand::kQkv, Operand::kO, Operand::kRouter, Operand::kGateUp, Operand::kDown}) {
    for (std::size_t l = 0; l < model.program.layers.size(); ++l) {
      add_all(operand, model.program.layers[l], {static_cast<std::int64_t>(l)});
    }
  }
  add_all(Operand::kHead, model.program.head, {});
  return all;
}

std::vector<HeldValues> q8_operands(const Model& model) {
  std::vector<HeldValues> own = ggml_operands(model);
  const bool quantised =
      std::ranges::any_of(own, [](const HeldValues& held) { return is_quantised(held.type); });
  return quantised ? own : projection_operands(OperandType::kQ8Of32);
}

}  // namespace assay
