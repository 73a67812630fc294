// RMSNorm with an engine's mistakes.
#pragma once

#include <cstddef>
#include <optional>

#include "models/program.h"
#include "ops/foreign.h"
#include "rewrite/operand_rounding.h"
#include "rewrite/store.h"

namespace assay {

struct OddNorm {
  RmsNorm norm;
  int applications = 1;  // 0: omitted
  bool weighted = true;
  bool centred = false;          // the mean is subtracted first (LayerNorm)
  bool eps_outside = false;      // x / (sqrt(mean(x^2)) + eps)
  bool sum_of_squares = false;   // sum(x^2) instead of its mean
  bool rounded_squares = false;  // x, x^2 and their mean are rounded to BF16
  std::size_t heads = 1;         // this many rows as one, with the same weights for each
  std::size_t parts = 1;         // each row in this many, each with its part of the weights
  std::optional<OperandType> normed = {};  // type in which x / rms is stored before the weight
  Store store = Store::kOwn;
  bool operator==(const OddNorm&) const = default;

  template <class N>
  void compute(ForeignRun<N>& with) const;

  // The step's norm, plain or odd; none if it is not a norm.
  static std::optional<OddNorm> of(const Operation& operation);
  // As an operation: a plain one if possible.
  Operation operation() const;
};

}  // namespace assay
