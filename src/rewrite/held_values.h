// Values that are stored in a coarser type than the engine's own, somewhere on their way.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "models/program.h"
#include "models/taps.h"
#include "rewrite/operand_rounding.h"

namespace assay {

// An input of a matmul.
enum class Operand : std::uint8_t {
  kQkv,      // of the projections of queries, keys and values
  kQueries,  // after norm and rotary embedding
  kKeys,     // the same, as stored in the cache
  kValues,   // as stored in the cache
  kProbs,
  kO,
  kRouter,
  kGateUp,
  kDown,
  kHead,
};

// The input of a matmul, the value of a tap, or an operation's intermediate.
struct HeldValues {
  enum class What : std::uint8_t {
    kOperand,
    kResult,
    kActivation,  // of the MLP: read in that type and stored in it before the product
    kNormed,      // of the norm that `result` shows: the value before its weight
  };
  What what = What::kOperand;
  Operand operand = Operand::kQkv;
  Tap result = Tap::kLogits;
  OperandType type = OperandType::kOwn;
  // What a similar engine may do instead: the difference is noise.
  std::optional<OperandType> other = {};
  // Of probabilities: rounded as exponentials relative to the row's greatest, before the division.
  bool before_division = false;
  double exponential_error = 0;           // relative error of these before they are rounded
  std::vector<std::int64_t> layers = {};  // empty: all
  bool operator==(const HeldValues&) const = default;

  bool is_in(std::int64_t layer) const {
    return layers.empty() || std::ranges::find(layers, layer) != layers.end();
  }
};

// The input that the step multiplies, if it is a matmul whose input has a name here.
std::optional<Operand> operand_of(const Block& block, const Step& step);

// An operand stored in that type, in all layers.
HeldValues held_operand(Operand operand, OperandType type);

// The inputs of all projections, including the router's and the head's.
std::vector<HeldValues> projection_operands(OperandType type);

// The inputs of attention's two matmuls: keys, values, queries and probabilities, in this order.
std::vector<HeldValues> attention_operands(OperandType type);

// Rewrites the program so that values are stored so; if several are at one place, in the order of
// `held`. What is outside the layers counts as layer 0.
void hold(Program& program, std::span<const HeldValues> held);

}  // namespace assay
