// The catalog: what an engine stores in a coarser type than its own. No logic is wrong.
#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>

#include "candidate/data_flow.h"
#include "diagnose/catalog_list.h"
#include "rewrite/held_values.h"

namespace assay {
namespace {

using What = HeldValues::What;

constexpr OperandType kHalves[] = {OperandType::kF16, OperandType::kBf16};
// Some hardware truncates to TF32, some rounds.
constexpr OperandType kCoarser[] = {OperandType::kF16, OperandType::kBf16, OperandType::kTf32,
                                    OperandType::kTf32Cut};

HeldValues result(Tap tap, OperandType type) {
  HeldValues held;
  held.what = What::kResult;
  held.result = tap;
  held.type = type;
  return held;
}

HeldValues normed(Tap norm, OperandType type) {
  HeldValues held = result(norm, type);
  held.what = What::kNormed;
  return held;
}

using HeldList = std::vector<HeldValues>;

HeldList operator+(HeldList a, const HeldList& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

HeldList cache(OperandType type) {
  return {held_operand(Operand::kKeys, type), held_operand(Operand::kValues, type)};
}

// A fused kernel multiplies exponentials before dividing by their sum, for all keys at once or by
// blocks, each relative to the greatest so far. It does not round its scores.
HeldList fused_attention(OperandType type, bool in_blocks) {
  HeldList held = attention_operands(type);
  if (in_blocks) {
    held.back().other = OperandType::kOwn;
  } else {
    held.back().before_division = true;
  }
  return held + HeldList{result(Tap::kAttnContext, type)};
}

HeldList whole_attention(OperandType type) {
  return attention_operands(type) + HeldList{result(Tap::kAttnScores, type),
                                             result(Tap::kAttnProbs, type),
                                             result(Tap::kAttnContext, type)};
}

bool is_searched(const Circumstances& at) { return at.loose && !at.survey; }

std::string_view text(OperandType type) { return operand_type_text(type); }

std::vector<Variant> caches(const Circumstances& at) {
  std::vector<Variant> all;
  if (!is_searched(at)) return all;
  for (const OperandType type : kHalves) {
    all.push_back(holding(fmt::format("attention's keys and values are held in {}", text(type)),
                          cache(type)));
  }
  return all;
}

std::vector<Variant> attentions(const Circumstances& at) {
  std::vector<Variant> all;
  if (!is_searched(at)) return all;
  for (const OperandType type : kCoarser) {
    all.push_back(
        holding(fmt::format("attention's matmuls read {}", text(type)), attention_operands(type)));
  }
  for (const OperandType type : kHalves) {
    all.push_back(
        holding(fmt::format("attention is computed in {}", text(type)), whole_attention(type)));
    all.push_back(holding(fmt::format("attention is computed in {}, fused", text(type)),
                          fused_attention(type, false)));
    all.push_back(holding(fmt::format("attention is computed in {}, fused, in blocks", text(type)),
                          fused_attention(type, true)));
  }
  return all;
}

std::vector<Variant> matmuls(const Circumstances& at) {
  std::vector<Variant> all;
  if (!is_searched(at)) return all;
  for (const OperandType type : kCoarser) {
    const HeldList read = projection_operands(type);
    all.push_back(holding(fmt::format("the projections read {}", text(type)), read));
    all.push_back(
        holding(fmt::format("all matmuls read {}", text(type)), read + attention_operands(type)));
  }
  // This is llama.cpp with a BF16 file.
  all.push_back(
      holding("the projections read BF16, attention's matmuls F16",
              projection_operands(OperandType::kBf16) + attention_operands(OperandType::kF16)));
  return all;
}

constexpr Tap kStored[] = {Tap::kInputNorm, Tap::kQProj,       Tap::kKProj,      Tap::kVProj,
                           Tap::kQNorm,     Tap::kKNorm,       Tap::kQRope,      Tap::kKRope,
                           Tap::kAttnProbs, Tap::kAttnContext, Tap::kAttnOutput, Tap::kMlpNorm,
                           Tap::kGateProj,  Tap::kUpProj,      Tap::kMlpAct,     Tap::kMlpOutput};

std::string list_of(const HeldList& all) {
  std::string taps;
  for (const HeldValues& held : all) {
    taps += fmt::format("{}{}", taps.empty() ? "" : ", ", tap_base_name(held.result));
  }
  return taps;
}

std::vector<Variant> results(const Circumstances& at) {
  std::vector<Variant> all;
  if (!is_searched(at)) return all;
  // What is seen to be coarse, all together; with or without the inputs of projections or matmuls.
  for (const OperandType type : kHalves) {
    HeldList seen = at.coarse_taps;
    std::erase_if(seen, [type](const HeldValues& held) { return held.type != type; });
    if (seen.empty()) continue;
    const std::string what =
        fmt::format("{} {} held in {}", list_of(seen),
                    seen.size() == 1 && seen[0].result != Tap::kLogits ? "is" : "are", text(type));
    all.push_back(holding(what, seen));
    all.push_back(holding(fmt::format("{}, and so are the projections' inputs", what),
                          seen + projection_operands(type)));
    all.push_back(holding(fmt::format("{}, and so are the inputs of all matmuls", what),
                          seen + projection_operands(type) + attention_operands(type)));
  }
  for (const OperandType type : kHalves) {
    all.push_back(holding(fmt::format("the residual stream is held in {}", text(type)),
                          {result(Tap::kEmbeddingOutput, type), result(Tap::kAttnResidual, type),
                           result(Tap::kLayerOutput, type)}));
    all.push_back(holding(
        fmt::format("the norms' results are held in {}", text(type)),
        {result(Tap::kInputNorm, type), result(Tap::kMlpNorm, type), result(Tap::kQNorm, type),
         result(Tap::kKNorm, type), result(Tap::kAttnPostNorm, type),
         result(Tap::kMlpPostNorm, type), result(Tap::kFinalNormOutput, type)}));
    // A norm that casts back to its input's type before it multiplies by its FP32 weight.
    if (at.spec.qk_norm) {
      all.push_back(holding(
          fmt::format("q_norm's and k_norm's x / rms is held in {}, before the weight", text(type)),
          {normed(Tap::kQNorm, type), normed(Tap::kKNorm, type)}));
    }
    if (has_norms_after(at.spec)) {
      all.push_back(holding(
          fmt::format("x / rms of the norms after attention and MLP is held in {}, before the "
                      "weight",
                      text(type)),
          {normed(Tap::kAttnPostNorm, type), normed(Tap::kMlpPostNorm, type)}));
    }
    for (const Tap tap : kStored) {
      all.push_back(holding(fmt::format("{} is held in {}", tap_base_name(tap), text(type)),
                            {result(tap, type)}));
    }
  }
  return all;
}

std::vector<Variant> rounded_activations(const Circumstances& at) {
  std::vector<Variant> all;
  if (!is_searched(at)) return all;
  for (const OperandType type : kHalves) {
    HeldValues held;
    held.what = What::kActivation;
    held.type = type;
    all.push_back(holding(
        fmt::format("the MLP's activation is computed in {} (or read from a table)", text(type)),
        {held}));
  }
  return all;
}

}  // namespace

std::vector<Entry> rounding_entries() {
  std::vector<Entry> all;
  all.push_back({.id = "kv-lowp",
                 .group = "precision",
                 .name = "KV cache in a coarser type",
                 .explanation = "Keys and values are rounded when they are stored.",
                 .look_at = "the cache's type (llama.cpp: F16 unless told otherwise)",
                 .frequency = 3,
                 .rounding = true,
                 .variants = caches});
  all.push_back({.id = "attn-lowp",
                 .group = "precision",
                 .name = "attention in a coarser type",
                 .explanation =
                     "Queries, keys, values and probabilities are cast before attention's matmuls.",
                 .look_at = "casts around the attention kernel; TF32 and its switches",
                 .frequency = 3,
                 .rounding = true,
                 .variants = attentions});
  all.push_back({.id = "matmul-lowp",
                 .group = "precision",
                 .name = "matmuls that read a coarser type",
                 .explanation = "The inputs of matmuls are cast first; sums are not.",
                 .look_at = "TF32 and its switches, autocast, the type of the weights",
                 .frequency = 3,
                 .rounding = true,
                 .variants = matmuls});
  all.push_back({.id = "values-lowp",
                 .group = "precision",
                 .name = "values held in a coarser type",
                 .explanation = "An operation's results are rounded when they are stored.",
                 .look_at = "the type of that operation's output",
                 .frequency = 2,
                 .rounding = true,
                 .variants = results});
  all.push_back({.id = "act-lowp",
                 .group = "precision",
                 .name = "the MLP's activation in a coarser type",
                 .explanation = "The activation is computed in half precision, or looked up in a "
                                "half-precision table (ggml's GELU).",
                 .look_at = "the activation's type",
                 .rounding = true,
                 .variants = rounded_activations});
  all.push_back({.id = "computed-coarsely",
                 .group = "precision",
                 .name = "an operation computed in a coarser type",
                 .explanation = "Its results are on that type's grid, with errors of that type's "
                                "size and without any pattern.",
                 .look_at = "the type in which that operation is computed",
                 .rounding = true,
                 .variants = [](const Circumstances&) { return std::vector<Variant>{}; }});
  return all;
}

}  // namespace assay
