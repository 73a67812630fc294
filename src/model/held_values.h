// Values that are held in a coarser type than the engine's own, somewhere on their way.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "assay/spec.h"
#include "assay/taps.h"
#include "model/exchange.h"
#include "numerics/operand_rounding.h"

namespace assay {

// The norms of which kNormed can be said: those that read what another tap of the layer shows.
std::optional<Tap> norm_behind(Tap tap, const ModelSpec& spec);

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

// An exchange under which values are held so.
template <class Real>
class Holding : public Exchange<Real> {
 public:
  // round: to the type that the pass holds its values in.
  Holding(const ModelSpec& spec, std::span<const HeldValues> held, Real (*round)(Real))
      : spec_(spec), held_(held), round_(round) {}

  void operand(Operand operand, std::int64_t layer, std::size_t rows, std::size_t width,
               Real* values) final;

 protected:
  // To be called with a tap's values as computed, before anybody else looks at them.
  void hold_result(Tap tap, std::int64_t layer, std::size_t width, std::span<Real> values);
  // To be called with a tap's values as the pass goes on with them.
  void keep_inputs(Tap tap, std::span<const Real> values);

 private:
  void hold(OperandType type, std::span<Real> values, std::size_t width) const;
  void hold_normed(const HeldValues& held, std::span<Real> values) const;
  bool is_held(HeldValues::What what) const;

  const ModelSpec& spec_;
  std::span<const HeldValues> held_;
  Real (*round_)(Real);
  // Of the layer that runs.
  std::vector<Real> gate_, up_;
  std::map<Tap, std::vector<Real>> before_norm_;  // by the norm's tap
};

}  // namespace assay
