// Values that are held in a coarser type than the engine's own, somewhere on their way.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "models/program.h"
#include "models/taps.h"
#include "numerics/operand_rounding.h"

namespace assay {

// What a matmul of the pass reads.
enum class Operand : std::uint8_t {
  kQkv,      // of the projections of queries, keys and values
  kQueries,  // after norm and rotary embedding
  kKeys,     // the same, as the cache keeps them
  kValues,   // as the cache keeps them
  kProbs,
  kO,
  kRouter,
  kGateUp,
  kDown,
  kHead,
};

// What a matmul reads, what a tap shows, or what an operation holds within.
struct HeldValues {
  enum class What : std::uint8_t {
    kOperand,
    kResult,
    kActivation,  // of the MLP: read in that type and held in it before the product
    kNormed,      // of the norm that `result` shows: what its weight multiplies
  };
  What what = What::kOperand;
  Operand operand = Operand::kQkv;
  Tap result = Tap::kLogits;
  OperandType type = OperandType::kOwn;
  // What another engine of the kind may do in its place: the difference is noise.
  std::optional<OperandType> other = {};
  // Of probabilities: in parts of the row's greatest, as exponentials are before the division.
  bool before_division = false;
  double exponential_error = 0;           // and these are so far off before they are rounded
  std::vector<std::int64_t> layers = {};  // none: all
  bool operator==(const HeldValues&) const = default;

  bool is_in(std::int64_t layer) const {
    return layers.empty() || std::ranges::find(layers, layer) != layers.end();
  }
};

// An operand held in that type, in all layers.
HeldValues held_operand(Operand operand, OperandType type);

// What every projection reads, the router's and the head's included.
std::vector<HeldValues> projection_operands(OperandType type);

// What attention's two matmuls read: keys, values, queries and probabilities, in this order.
std::vector<HeldValues> attention_operands(OperandType type);

// The program under which values are held so; in the order of `held` where several are of one
// place. What lies outside of the layers counts as layer 0.
void hold(Program& program, std::span<const HeldValues> held);

}  // namespace assay
