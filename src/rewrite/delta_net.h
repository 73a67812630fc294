// The gated delta rule and its convolution, decay and norm with an engine's mistakes.
#pragma once

#include <cstdint>
#include <optional>

#include "models/program.h"
#include "ops/foreign.h"

namespace assay {

struct OddConv {
  CausalConv conv;
  std::int64_t late = 0;       // the window ends so many tokens before its own
  bool flipped = false;        // weights in reverse
  bool activates = true;       // silu
  std::int64_t decoding = 0;   // the first position that was decoded; 0: none
  bool keeps_outputs = false;  // from there on, earlier positions count with their outputs
  bool forgets = false;        // or with zeros
  bool operator==(const OddConv&) const = default;

  template <class N>
  void compute(ForeignRun<N>& with) const;

  static std::optional<OddConv> of(const Operation& operation);
  Operation operation() const;
};

struct OddDecay {
  bool positive = false;   // without the minus
  bool log_as_is = false;  // A_log, not its exponential
  bool softplus = true;    // false: the sum itself
  bool biased = true;      // dt_bias is added
  bool rounded = false;    // in the run's type
  bool operator==(const OddDecay&) const = default;

  template <class N>
  void compute(ForeignRun<N>& with) const;

  static std::optional<OddDecay> of(const Operation& operation);
  Operation operation() const;
};

struct OddDeltaRule {
  DeltaRule rule;
  bool unit_queries = true, unit_keys = true;  // normalised
  bool tiled = false;                          // value head h uses key head h % key_heads
  bool subtracts = true;        // false: v itself is written, as in plain linear attention
  bool decays_late = false;     // after the update, not before it
  bool state_bf16 = false;      // the state is kept in BF16
  std::int64_t forgets_at = 0;  // the state is zero again from this position on; 0: never
  bool operator==(const OddDeltaRule&) const = default;

  template <class N>
  void compute(ForeignRun<N>& with) const;

  static std::optional<OddDeltaRule> of(const Operation& operation);
  Operation operation() const;
};

struct OddGatedNorm {
  GatedNorm norm;
  bool one_plus = false;  // times 1 + weight
  enum class By : std::uint8_t { kSilu, kSigmoid, kNothing } by = By::kSilu;
  bool gate_first = false;  // before the norm
  bool operator==(const OddGatedNorm&) const = default;

  template <class N>
  void compute(ForeignRun<N>& with) const;

  static std::optional<OddGatedNorm> of(const Operation& operation);
  Operation operation() const;
};

}  // namespace assay
