// The arguments of an operation that brings its own code.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "models/program.h"
#include "numerics/kernels.h"
#include "ops/cpu/ops.h"
#include "ops/observer.h"

namespace assay {

// A step over a single sequence from its first token on: such operations support nothing else.
template <class N>
struct ForeignRun {
  using Real = typename N::Real;

  Ops<N>& ops;
  std::int64_t layer = 0;  // 0 outside of the layers
  std::size_t tokens = 0;
  std::span<const std::int64_t> ids;
  // [tokens, width] of each value, in separate memory; values over keys have none. After the head's
  // matrix these are some columns of some positions, and writes are the same memory as reads.
  std::vector<std::span<Real>> reads = {};
  std::vector<std::span<Real>> writes = {};
  std::vector<std::size_t> widths = {};  // of what is read
  std::size_t head_dim = 0;              // of the first input, if it has heads
  std::span<const Weight> weights = {};  // in the order of the step's tensors
  std::size_t first_column = 0;          // the first of the head's columns
  Observer<Real>* observer = nullptr;    // for values over keys; the caller shows the others
};

}  // namespace assay
