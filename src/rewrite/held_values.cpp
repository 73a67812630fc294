#include "rewrite/held_values.h"

#include <initializer_list>
#include <variant>

#include "rewrite/edit.h"
#include "rewrite/elementwise.h"
#include "rewrite/foreign_of.h"
#include "rewrite/gate.h"
#include "rewrite/norm.h"

namespace assay {
namespace {

using What = HeldValues::What;

std::vector<HeldValues> held_operands(std::initializer_list<Operand> operands, OperandType type) {
  std::vector<HeldValues> all;
  for (const Operand operand : operands) all.push_back(held_operand(operand, type));
  return all;
}

// The tap that shows a value, possibly after operations that a rewrite has inserted, or after it is
// taken apart.
std::optional<Tap> shown_as(const Block& block, ValueId v) {
  while (!block.values[v].tap) {
    const auto next = std::ranges::find_if(block.steps, [v](const Step& step) {
      const bool passes_on = std::holds_alternative<Foreign>(step.operation) ||
                             std::holds_alternative<Unpack>(step.operation);
      return passes_on && !step.reads.empty() && step.reads[0] == v;
    });
    if (next == block.steps.end()) return std::nullopt;
    v = next->writes[0];
  }
  return block.values[v].tap;
}

void hold_operand(Block& block, const HeldValues& held) {
  const bool of_cache = held.operand == Operand::kQueries || held.operand == Operand::kKeys ||
                        held.operand == Operand::kValues;
  if (held.operand == Operand::kProbs) {
    if (AttentionEdit attention(block); attention) {
      attention->probs_read.push_back({held.type, held.before_division, held.exponential_error});
    }
    return;
  }
  if (of_cache) {
    attend_in_full(block);
    const std::optional<std::size_t> step = attention_step(block);
    const std::size_t i = held.operand == Operand::kQueries ? 0
                          : held.operand == Operand::kKeys  ? 1
                                                            : 2;
    if (step) before_read(block, *step, i, foreign(Held{held.type}));
    return;
  }
  for (std::size_t s = 0; s < block.steps.size(); ++s) {
    if (operand_of(block, block.steps[s]) != held.operand) continue;
    before_read(block, s++, 0, foreign(Held{held.type}));
  }
}

void hold_result(Block& block, const HeldValues& held) {
  if (held.result == Tap::kAttnScores || held.result == Tap::kAttnProbs) {
    if (AttentionEdit attention(block); attention) {
      (held.result == Tap::kAttnScores ? attention->scores_held : attention->probs_held)
          .push_back(held.type);
    }
    return;
  }
  before_shown(block, held.result, foreign(Held{held.type}));
}

void hold(Block& block, const HeldValues& held) {
  switch (held.what) {
    case What::kOperand:
      return hold_operand(block, held);
    case What::kResult:
      return hold_result(block, held);
    case What::kActivation:
      return change_each<OddGate>(block,
                                  [&](OddGate& odd, const Step&) { odd.within = held.type; });
    case What::kNormed:
      return change_each<OddNorm>(block, [&](OddNorm& odd, const Step& step) {
        if (block.values[step.writes[0]].tap == held.result) odd.normed = held.type;
      });
  }
}

}  // namespace

// By the tap of the result.
std::optional<Operand> operand_of(const Block& block, const Step& step) {
  const bool of_experts = std::holds_alternative<ExpertLinear>(step.operation);
  if (!of_experts && !std::holds_alternative<Linear>(step.operation)) return std::nullopt;
  const std::optional<Tap> tap = shown_as(block, step.writes[0]);
  if (!tap) {
    // Outputs of experts have no tap, nor do logits that are capped later.
    return of_experts ? Operand::kDown : Operand::kHead;
  }
  switch (*tap) {
    case Tap::kQProj:
    case Tap::kGdnQkv:
      return Operand::kQkv;
    case Tap::kAttnOutput:
    case Tap::kGdnOutput:
      return Operand::kO;
    case Tap::kRouterLogits:
      return Operand::kRouter;
    case Tap::kGateProj:
      return Operand::kGateUp;
    case Tap::kSharedGateProj:
      return Operand::kGateUp;
    case Tap::kSharedOutput:
    case Tap::kMlpOutput:
      return Operand::kDown;
    case Tap::kLogits:
      return Operand::kHead;
    default:
      return std::nullopt;
  }
}

HeldValues held_operand(Operand operand, OperandType type) {
  HeldValues held;
  held.operand = operand;
  held.type = type;
  return held;
}

std::vector<HeldValues> projection_operands(OperandType type) {
  return held_operands({Operand::kQkv, Operand::kO, Operand::kRouter, Operand::kGateUp,
                        Operand::kDown, Operand::kHead},
                       type);
}

std::vector<HeldValues> attention_operands(OperandType type) {
  return held_operands({Operand::kKeys, Operand::kValues, Operand::kQueries, Operand::kProbs},
                       type);
}

void hold(Program& program, std::span<const HeldValues> held) {
  // Results last: an operation inserted after a norm takes over its tap.
  for (const bool results : {false, true}) {
    for (const HeldValues& one : held) {
      if ((one.what == What::kResult) != results) continue;
      if (one.is_in(0)) {
        hold(program.embedding, one);
        hold(program.head, one);
      }
      for (std::size_t l = 0; l < program.layers.size(); ++l) {
        if (one.is_in(static_cast<std::int64_t>(l))) hold(program.layers[l], one);
      }
    }
  }
}

}  // namespace assay
