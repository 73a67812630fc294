// Small operations that a rewrite puts between others; all but those of the embedding and of
// positions may stand after the head's matrix.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "models/program.h"
#include "numerics/operand_rounding.h"
#include "ops/foreign.h"
#include "rewrite/store.h"

namespace assay {

struct OddLookup {
  double scale = 1;
  bool scale_rounded = true;
  std::int64_t row_offset = 0;  // row id + this is looked up
  Store store = Store::kOwn;
  bool operator==(const OddLookup&) const = default;
  template <class N>
  void compute(ForeignRun<N>& with) const;

  static std::optional<OddLookup> of(const Operation& operation);
  Operation operation() const;
};

// x as it is.
struct Same {
  bool operator==(const Same&) const = default;
  template <class N>
  void compute(ForeignRun<N>& with) const;
};

// x as it is stored.
struct Stored {
  Store store = Store::kOwn;
  bool operator==(const Stored&) const = default;
  template <class N>
  void compute(ForeignRun<N>& with) const;
};

// x in a coarser type, each row by itself, and then as the numerics rounds.
struct Held {
  OperandType type = OperandType::kOwn;
  bool operator==(const Held&) const = default;
  template <class N>
  void compute(ForeignRun<N>& with) const;
};

struct Clamped {
  double least = 0;
  double most = 0;
  bool operator==(const Clamped&) const = default;
  template <class N>
  void compute(ForeignRun<N>& with) const;
};

// cap * tanh(x / cap); in one operation without roundings between, or as the model's own.
struct OddSoftcap {
  double cap = 0;
  bool rounded_once = false;
  Store store = Store::kOwn;
  bool operator==(const OddSoftcap&) const = default;
  template <class N>
  void compute(ForeignRun<N>& with) const;
};

// Times a constant, in double.
struct Scaled {
  double by = 1;
  Store store = Store::kOwn;
  bool operator==(const Scaled&) const = default;
  template <class N>
  void compute(ForeignRun<N>& with) const;
};

// A constant is added to the logit of some ids.
struct Biased {
  std::vector<std::pair<std::int64_t, double>> ids;
  Store store = Store::kOwn;
  bool operator==(const Biased&) const = default;
  template <class N>
  void compute(ForeignRun<N>& with) const;
};

// Position p has the row of position p + this, or of the nearest end's.
struct ShiftedRows {
  std::int64_t by = 0;
  bool operator==(const ShiftedRows&) const = default;
  template <class N>
  void compute(ForeignRun<N>& with) const;
};

// cap * tanh(x / cap) of each, in place, rounded as Kernels::softcap does.
template <class N>
void softcap(double cap, Store store, std::span<typename N::Real> x);

}  // namespace assay
