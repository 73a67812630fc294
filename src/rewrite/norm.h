// RMSNorm as an engine may have it.
#pragma once

#include <cstddef>
#include <optional>

#include "models/program.h"
#include "numerics/operand_rounding.h"
#include "ops/foreign.h"
#include "rewrite/store.h"

namespace assay {

struct OddNorm {
  RmsNorm norm;
  int times = 1;  // 0: left out
  bool weighted = true;
  bool centred = false;                    // the mean is subtracted first (LayerNorm)
  bool eps_outside = false;                // x / (sqrt(mean(x^2)) + eps)
  bool sum_of_squares = false;             // sum(x^2) in place of its mean
  bool rounded_squares = false;            // x, x^2 and their mean held in BF16
  std::size_t heads = 1;                   // so many rows as one, with the same weights for each
  std::size_t parts = 1;                   // each row in so many, with its part of the weights
  std::optional<OperandType> normed = {};  // x / rms is held in it before the weight
  Store store = Store::kOwn;
  bool operator==(const OddNorm&) const = default;

  template <class N>
  void compute(ForeignRun<N>& with) const;

  // The step's norm, plain or odd; nothing where it is none.
  static std::optional<OddNorm> of(const Operation& operation);
  // As an operation: a plain one where it is one.
  Operation operation() const;
};

}  // namespace assay
