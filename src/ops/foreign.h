// What an operation that brings its own code is run with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "models/program.h"
#include "numerics/kernels.h"
#include "ops/cpu/ops.h"
#include "ops/kv_cache.h"
#include "ops/observer.h"

namespace assay {

// A step over one sequence, from its first token on: such operations know no others.
template <class N>
struct ForeignRun {
  using Real = typename N::Real;

  Ops<N>& ops;
  std::int64_t layer = 0;  // 0 outside of the layers
  std::size_t tokens = 0;
  std::span<const std::int64_t> ids;
  // [tokens, width] of each value, in memory of their own; what lies over keys has none. After the
  // head's matrix they are some columns of some positions, and what is written is what is read.
  std::vector<std::span<Real>> reads = {};
  std::vector<std::span<Real>> writes = {};
  std::vector<std::size_t> widths = {};  // of what is read
  std::size_t head_dim = 0;              // of the first thing read, where it has heads
  std::span<const Weight> weights = {};  // as the step's tensors
  std::size_t first_column = 0;          // of the head's columns
  KvCache<N>* cache = nullptr;           // of the layer's attention
  Observer<Real>* observer = nullptr;    // for what lies over keys; the rest is shown by the caller
};

}  // namespace assay
