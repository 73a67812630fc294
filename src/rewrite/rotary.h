// The rotary embedding with an engine's mistakes.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "models/program.h"
#include "ops/foreign.h"
#include "rewrite/store.h"

namespace assay {

// Types of the intermediates of the rotated values; kF32: not rounded.
struct RotaryTypes {
  DType positions = DType::kF32;
  DType frequencies = DType::kF32;
  DType angles = DType::kF32;
  DType table = DType::kF32;
  DType products = DType::kF32;  // including the queries and keys in them
  bool operator==(const RotaryTypes&) const = default;
};

// In place of the position of the first decoded token: the end of the prompt, whichever is run.
inline constexpr std::int64_t kAfterPrompt = -1;

// Positions of tokens that are decoded one by one after a prompt.
struct DecodedPositions {
  std::int64_t from = 0;  // position of the first decoded token, or kAfterPrompt
  std::int64_t by = 0;    // added to their positions
  bool stuck = false;     // all have the first one's position
  bool restart = false;   // the first one has position 0
  bool operator==(const DecodedPositions&) const = default;
};

struct OddRotate {
  Rotate rotate;
  int applications = 1;      // 0: omitted
  bool interleaved = false;  // pairs (2i, 2i + 1), as in GPT-J
  bool backwards = false;    // by -angle
  bool exchanged = false;    // cos and sin swapped
  std::int64_t offset = 0;   // added to the position
  double factor = 1;         // divides the position
  RotaryTypes types = {};
  std::vector<std::int64_t> position_of = {};  // per token; empty: its own
  std::optional<DecodedPositions> decoded = {};
  std::vector<double> inv_freq = {};  // per pair, the angle per position; empty: the model's
  Store store = Store::kOwn;
  RopeParameters parameters = {};  // of the program's table, filled in before it runs
  bool operator==(const OddRotate&) const = default;

  template <class N>
  void compute(ForeignRun<N>& with) const;

  static std::optional<OddRotate> of(const Operation& operation);
  Operation operation() const;
};

// cos and sin of an OddRotate for a sequence's first tokens.
template <class N>
class OddRotation {
 public:
  using Real = typename N::Real;
  OddRotation(const OddRotate& odd, std::size_t tokens);
  // Rotates one head of that token in place.
  void rotate(std::size_t token, Real* head) const;

 private:
  const OddRotate& odd_;
  std::vector<Real> cos_, sin_;  // [tokens, dims / 2]
};

}  // namespace assay
