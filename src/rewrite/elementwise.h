// Small operations that a rewrite inserts between others. All but those on the embedding and on
// positions may also follow the head's matrix.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "models/program.h"
#include "ops/foreign.h"
#include "rewrite/operand_rounding.h"
#include "rewrite/store.h"

namespace assay {

struct OddLookup {
  Lookup lookup;
  bool scale_rounded = true;
  std::int64_t row_offset = 0;  // row id + row_offset is looked up
  Store store = Store::kOwn;
  bool operator==(const OddLookup&) const = default;
  template <class N>
  void compute(ForeignRun<N>& with) const;

  static std::optional<OddLookup> of(const Operation& operation);
  Operation operation() const;
};

// x unchanged.
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

// x in a coarser type, each row by itself, and then rounded as the numerics says.
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

// cap * tanh(x / cap), in one operation without intermediate roundings, or as the model's own.
struct OddSoftcap {
  double cap = 0;
  bool rounded_once = false;
  Store store = Store::kOwn;
  bool operator==(const OddSoftcap&) const = default;
  template <class N>
  void compute(ForeignRun<N>& with) const;
};

// x times a constant, in double.
struct Scaled {
  double by = 1;
  Store store = Store::kOwn;
  bool operator==(const Scaled&) const = default;
  template <class N>
  void compute(ForeignRun<N>& with) const;
};

// Adds a constant to the logits of some ids.
struct Biased {
  std::vector<std::pair<std::int64_t, double>> ids;
  Store store = Store::kOwn;
  bool operator==(const Biased&) const = default;
  template <class N>
  void compute(ForeignRun<N>& with) const;
};

// Position p gets the row of position p + by, clamped to the ends.
struct ShiftedRows {
  std::int64_t by = 0;
  bool operator==(const ShiftedRows&) const = default;
  template <class N>
  void compute(ForeignRun<N>& with) const;
};

// cap * tanh(x / cap) of each element in place, rounded as Kernels::softcap does.
template <class N>
void softcap(double cap, Store store, std::span<typename N::Real> x);

}  // namespace assay
