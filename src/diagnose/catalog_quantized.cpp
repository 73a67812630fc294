// The catalog: weights and activations in 8 bits and fewer.
#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "diagnose/catalog_list.h"
#include "rewrite/held_values.h"

namespace assay {
namespace {

using Kind = WeightChange::Kind;
using HeldList = std::vector<HeldValues>;

constexpr std::string_view kConversion =
    "the checkpoint's conversion: this is not the model that was trained";

// Embedding, head and router are usually not quantised.
HeldList layer_operands(OperandType type) {
  HeldList held = projection_operands(type);
  std::erase_if(held, [](const HeldValues& h) {
    return h.operand == Operand::kHead || h.operand == Operand::kRouter;
  });
  return held;
}

std::vector<Variant> weights_in(Kind kind, const std::string& how = {}) {
  const auto layers = [kind](Hypothesis& h) { h.weights.push_back({kind, Part::kQ, Part::kQ, 0}); };
  return {{"in the layers" + how, layers},
          {"in layers, embedding and head" + how,
           [=](Hypothesis& h) {
             layers(h);
             h.embedding = WeightChange{kind};
             h.head = WeightChange{kind};
           }},
          {"in the head" + how, [kind](Hypothesis& h) { h.head = WeightChange{kind}; }}};
}

auto weights_alone_in(Kind kind) {
  return [kind](const Circumstances&) { return weights_in(kind); };
}

// An engine that multiplies in 8 bits quantises both.
Variant with_activations(Kind kind, const std::string& how, OperandType type) {
  Variant weights = weights_in(kind, how).front();
  const std::string detail =
      fmt::format("{}; activations in {}", weights.detail, operand_type_text(type));
  return {detail, [weights, held = layer_operands(type)](Hypothesis& h) {
            weights.apply(h);
            h.held.insert(h.held.end(), held.begin(), held.end());
          }};
}

void append(std::vector<Variant>& all, std::vector<Variant> more) {
  for (Variant& variant : more) all.push_back(std::move(variant));
}

std::vector<Variant> in_int8(const Circumstances&) {
  const std::string wide = ", scales of largest / 127.5";
  std::vector<Variant> all = weights_in(Kind::kInt8);
  append(all, weights_in(Kind::kInt8Wide, wide));
  all.push_back(with_activations(Kind::kInt8, "", OperandType::kI8Row));
  all.push_back(with_activations(Kind::kInt8Wide, wide, OperandType::kI8RowWide));
  return all;
}

std::vector<Variant> in_fp8(const Circumstances&) {
  const std::string row = ", a scale per row";
  const std::string tensor = ", a scale per tensor";
  std::vector<Variant> all = weights_in(Kind::kFp8);
  all.push_back(with_activations(Kind::kFp8, "", OperandType::kF8));
  append(all, weights_in(Kind::kFp8Row, row));
  all.push_back(with_activations(Kind::kFp8Row, row, OperandType::kF8Row));
  append(all, weights_in(Kind::kFp8Tensor, tensor));
  all.push_back(with_activations(Kind::kFp8Tensor, tensor, OperandType::kF8Row));
  all.push_back(with_activations(Kind::kFp8Tensor, tensor, OperandType::kF8Tensor));
  return all;
}

// These errors are larger than half precision's, so they are searched whatever the errors are.
std::vector<Variant> activations(const Circumstances& at) {
  std::vector<Variant> all;
  if (at.survey) return all;
  const auto add = [&](const HeldList& held, std::string_view type) {
    const std::string what = fmt::format("activations are rounded to {} before each matmul", type);
    all.push_back(holding(what, held));
    // llama.cpp's cache is F16 unless told otherwise.
    HeldList with_cache = held;
    for (HeldValues& h : attention_operands(OperandType::kF16)) with_cache.push_back(std::move(h));
    all.push_back(holding(fmt::format("{}; attention's matmuls read F16", what), with_cache));
  };
  const HeldList& own = at.ggml_operands;
  const auto most =
      std::ranges::find_if(own, [](const HeldValues& held) { return is_quantised(held.type); });
  if (most != own.end()) add(own, operand_type_text(most->type));
  for (const OperandType type : {OperandType::kQ8Of32, OperandType::kQ8Of256}) {
    // The file's own operands already cover this type, without what it leaves in FP32.
    if (most == own.end() || most->type != type) {
      add(projection_operands(type), operand_type_text(type));
    }
  }
  for (const OperandType type : {OperandType::kI8Row, OperandType::kI8RowWide, OperandType::kF8Row,
                                 OperandType::kF8Tensor, OperandType::kF8}) {
    all.push_back(holding(fmt::format("activations are rounded to {} before the layers' matmuls",
                                      operand_type_text(type)),
                          layer_operands(type)));
  }
  return all;
}

}  // namespace

std::vector<Entry> quantized_entries() {
  std::vector<Entry> all;
  all.push_back({.id = "int8-weights",
                 .group = "precision",
                 .name = "weights in int8",
                 .explanation = "Matrices are quantised with one scale per row: the largest / 127, "
                                "or / 127.5 as in torchao. An engine that multiplies int8 "
                                "quantises activations too, with one scale per token.",
                 .look_at = kConversion,
                 .frequency = 2,
                 .variants = in_int8});
  all.push_back({.id = "int4-weights",
                 .group = "precision",
                 .name = "weights in 4 bits",
                 .explanation = "Matrices are quantised with one scale per 32 weights.",
                 .look_at = kConversion,
                 .frequency = 2,
                 .variants = weights_alone_in(Kind::kInt4)});
  all.push_back(
      {.id = "fp8-weights",
       .group = "precision",
       .name = "weights in FP8",
       .explanation =
           "Matrices were cast to E4M3: as they are, or with a scale per row or tensor of the "
           "largest / 448. An engine that multiplies FP8 casts activations too.",
       .look_at = kConversion,
       .variants = in_fp8});
  all.push_back({.id = "fp16-weights",
                 .group = "precision",
                 .name = "weights cast to F16",
                 .explanation = "BF16 weights smaller than F16's normal numbers are lost.",
                 .look_at = "the type that weights are loaded as",
                 .frequency = 2,
                 .rounding = true,
                 .variants = weights_alone_in(Kind::kF16)});
  all.push_back({.id = "q8-activations",
                 .group = "precision",
                 .name = "activations in 8 bits",
                 .explanation = "The inputs of matmuls are rounded to 8 bits, with a scale per "
                                "block, token or tensor. Right for an engine that is designed so.",
                 .look_at = "nothing, if this is intended: the engine cannot come closer",
                 .frequency = 3,
                 .rounding = true,
                 .variants = activations});
  return all;
}

}  // namespace assay
