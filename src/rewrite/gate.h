// The MLP's activation with an engine's mistakes.
#pragma once

#include <cstdint>
#include <optional>

#include "models/program.h"
#include "ops/foreign.h"
#include "rewrite/operand_rounding.h"
#include "rewrite/store.h"

namespace assay {

enum class Function : std::uint8_t {
  kSilu,
  kGelu,       // x * Phi(x)
  kGeluTanh,   // its tanh approximation
  kQuickGelu,  // x * sigmoid(1.702 x)
  kRelu,
  kRelu2,  // squared
  kSigmoid,
  kTanh,
  kHardSwish,
  kNone,
};

// f(gate) * up; not of swish, whose mistakes are other parameters of the operation.
struct OddGate {
  Function function = Function::kSilu;
  enum class On : std::uint8_t { kGate, kUp, kProduct } on = On::kGate;
  std::optional<OperandType> within = {};  // type in which f is read and stored before the product
  Store store = Store::kOwn;
  bool operator==(const OddGate&) const = default;

  template <class N>
  void compute(ForeignRun<N>& with) const;

  static std::optional<OddGate> of(const Operation& operation);
  Operation operation() const;
};

// Swish, each of whose intermediate results is stored. The limit is the type's nearest value.
struct StoredSwish {
  Gate gate;
  Store store = Store::kOwn;
  bool operator==(const StoredSwish&) const = default;

  template <class N>
  void compute(ForeignRun<N>& with) const;
};

}  // namespace assay
