#include "rewrite/ggml_operands.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>

#include "formats/gguf_parts.h"

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
      return OperandType::kQ8Of32;
    case GgmlType::kQ2_K:
    case GgmlType::kQ3_K:
    case GgmlType::kQ4_K:
    case GgmlType::kQ5_K:
    case GgmlType::kQ6_K:
    case GgmlType::kIQ4_XS:
      return OperandType::kQ8Of256;
  }
  return OperandType::kOwn;
}

struct Reader {
  Operand operand;
  std::array<std::string_view, 2> tensors;  // a file has one of them
};
constexpr std::array<Reader, 6> kReaders = {{{Operand::kQkv, {"attn_q", "attn_qkv"}},
                                             {Operand::kO, {"attn_output", ""}},
                                             {Operand::kRouter, {"ffn_gate_inp", ""}},
                                             {Operand::kGateUp, {"ffn_up", "ffn_up_exps"}},
                                             {Operand::kDown, {"ffn_down", "ffn_down_exps"}},
                                             {Operand::kHead, {"output", "token_embd"}}}};

}  // namespace

std::vector<HeldValues> ggml_operands(const std::filesystem::path& checkpoint,
                                      std::int64_t layers) {
  const auto file = gguf_file_of(checkpoint);
  if (!file) return {};
  const GgufParts parts(*file);
  std::vector<HeldValues> all;
  const auto add = [&](const Reader& reader, const std::string& prefix,
                       std::vector<std::int64_t> where) {
    for (const std::string_view name : reader.tensors) {
      const GgufTensor* tensor = parts.find(fmt::format("{}{}.weight", prefix, name));
      if (tensor == nullptr) continue;
      const OperandType type = operand_of(tensor->type);
      if (type == OperandType::kOwn) return;
      HeldValues held = held_operand(reader.operand, type);
      held.layers = std::move(where);
      // These types multiply with Q8_1, whose sums use the unrounded scale in part of the product.
      const bool sums = tensor->type == GgmlType::kQ4_1 || tensor->type == GgmlType::kQ5_1;
      if (sums) held.other = OperandType::kQ8Of32Exact;
      const auto same = std::ranges::find_if(all, [&](const HeldValues& known) {
        return known.operand == held.operand && known.type == type && known.other == held.other;
      });
      if (same == all.end()) {
        all.push_back(std::move(held));
      } else {
        same->layers.insert(same->layers.end(), held.layers.begin(), held.layers.end());
      }
      return;
    }
  };
  for (const Reader& reader : kReaders) {
    if (reader.operand == Operand::kHead) {
      add(reader, "", {});
      continue;
    }
    for (std::int64_t l = 0; l < layers; ++l) add(reader, fmt::format("blk.{}.", l), {l});
  }
  return all;
}

std::vector<HeldValues> q8_operands(const std::filesystem::path& checkpoint, std::int64_t layers) {
  std::vector<HeldValues> own = ggml_operands(checkpoint, layers);
  const bool quantised =
      std::ranges::any_of(own, [](const HeldValues& held) { return is_quantised(held.type); });
  return quantised ? own : projection_operands(OperandType::kQ8Of32);
}

}  // namespace assay
