// Values that are held in a coarser type than the engine's own, somewhere on their way.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "assay/spec.h"
#include "assay/taps.h"
#include "model/exchange.h"
#include "numerics/operand_rounding.h"

namespace assay {

// Either what a matmul reads, or what a tap shows.
struct HeldValues {
  enum class What : std::uint8_t {
    kOperand,
    kResult,
    kActivation,  // of the MLP: read in that type and held in it before the product
  };
  What what = What::kOperand;
  Operand operand = Operand::kQkv;
  Tap result = Tap::kLogits;
  OperandType type = OperandType::kOwn;
  // What another engine of the kind may do in its place: the difference is noise.
  std::optional<OperandType> other = {};
  std::vector<std::int64_t> layers = {};  // none: all
  bool operator==(const HeldValues&) const = default;

  bool is_in(std::int64_t layer) const {
    return layers.empty() || std::ranges::find(layers, layer) != layers.end();
  }
};

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
  void keep_for_activation(Tap tap, std::span<const Real> values);
  bool holds_result(Tap tap) const;

 private:
  void hold(OperandType type, std::span<Real> values, std::size_t width) const;

  const ModelSpec& spec_;
  std::span<const HeldValues> held_;
  Real (*round_)(Real);
  std::vector<Real> gate_, up_;  // of the layer that runs
};

}  // namespace assay
