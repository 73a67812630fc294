// The sums over pairs of elements from which all metrics of a tensor are made. One pass, in double.
//
// The order is fixed, whatever the instruction set: blocks of 256 elements; within a block element
// i is added to lane i mod 16, the blocks' lanes are added in order, and at the end of a call the
// lanes in a tree (l with l+8, then +4, +2, +1). The last elements, fewer than a block, and the
// elements of a block that contains something to skip are added one by one, before the tree's sum.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "numerics/noise.h"

namespace assay {

// Pairs with a NaN or an infinity, and pairs that the causal mask hides (the reference's value is
// below kHidden), are counted but not summed.
struct PairSums {
  static constexpr double kHidden = kOwnHiddenScore;
  // A candidate may hide with any value that softmax turns into 0: -inf, -1e9, -10000.
  static constexpr double kHides = -9999;

  double error2 = 0;      // (x - y)^2; x is the reference, y the candidate
  double reference2 = 0;  // x^2
  double candidate2 = 0;  // y^2
  double product = 0;     // x y
  double max_error = -1;  // |x - y|; below 0 when nothing was compared
  std::size_t max_index = 0;
  std::uint64_t ulp_sum = 0;  // BF16 steps between x and y, both rounded to BF16
  std::uint32_t ulp_max = 0;
  std::int64_t compared = 0;
  std::int64_t equal = 0;
  std::int64_t nan_reference = 0;
  std::int64_t nan_candidate = 0;
  std::int64_t inf_reference = 0;
  std::int64_t inf_candidate = 0;
  std::int64_t unlike = 0;      // one of the two is NaN or infinite and the other something else
  std::int64_t hidden = 0;      // by the mask in both
  std::int64_t not_hidden = 0;  // by the mask in the reference only

  // other: the sums of the elements after these.
  void add(const PairSums& other);
};

// An element in a file, at any offset.
template <class Real>
struct [[gnu::packed]] Unaligned {
  Real value;
  operator Real() const { return value; }
};

// The functions of one instruction set. Each adds the sums over x[0, n) and y[0, n), n at most
// kMostPairs, to `sums`; `first` is the index of x[0] for max_index. Each pair's (x - y)^2 is added
// to channel_error2[i].
struct PairSumsTable {
  static constexpr std::size_t kMostPairs = std::size_t{1} << 16;  // ulp_sum has 32 bits per lane
  void (*f32)(const Unaligned<float>* x, const Unaligned<float>* y, std::size_t n,
              std::size_t first, double* channel_error2, PairSums& sums);
  void (*f64)(const Unaligned<double>* x, const Unaligned<double>* y, std::size_t n,
              std::size_t first, double* channel_error2, PairSums& sums);
};

PairSumsTable pair_sums_plain();
PairSumsTable pair_sums_avx2();
PairSumsTable pair_sums_avx512();
PairSumsTable pair_sums_avx512bf16();  // rounds to BF16 with one instruction
bool supports_avx512bf16();

// The functions of the instruction set in use (numerics/kernels.h). All give the same bits.
PairSumsTable pair_sums_table();

}  // namespace assay
