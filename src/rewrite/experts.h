// A mixture of experts with an engine's mistakes.
#pragma once

#include <cstdint>
#include <optional>

#include "models/program.h"
#include "ops/foreign.h"
#include "rewrite/store.h"

namespace assay {

struct OddExpertWeights {
  ExpertWeights weights;
  Store store = Store::kOwn;
  bool operator==(const OddExpertWeights&) const = default;

  template <class N>
  void compute(ForeignRun<N>& with) const;

  static std::optional<OddExpertWeights> of(const Operation& operation);
  Operation operation() const;
};

struct OddSum {
  SumExperts sum;
  bool weighted = true;   // false: the experts' outputs are added without weights
  std::int64_t used = 0;  // only a token's first experts are added; 0: all
  Store store = Store::kOwn;
  bool operator==(const OddSum&) const = default;

  template <class N>
  void compute(ForeignRun<N>& with) const;

  static std::optional<OddSum> of(const Operation& operation);
  Operation operation() const;
};

// Ids of experts plus a constant, cyclically.
struct ShiftedIds {
  std::int64_t experts = 0;
  std::int64_t by = 0;
  bool operator==(const ShiftedIds&) const = default;

  template <class N>
  void compute(ForeignRun<N>& with) const;
};

}  // namespace assay
