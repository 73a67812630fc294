// The rotary embedding's frequencies, and cos and sin of the angles.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "numerics/rope.h"

namespace assay {

// The frequencies for a sequence of one length.
template <class Real>
struct RopeFrequencies {
  std::vector<Real> inv_freq;  // [dims / 2]
  Real attention_factor = 1;
};

// inv_freq[i] = 1 / theta^(2i / dims) (RoFormer, arXiv 2104.09864), stretched as `rope` says, for a
// sequence of `length` tokens. float: each operation is one FP32 operation, in the order in which
// transformers computes it whatever the model's dtype (modeling_rope_utils.py); what it computes
// with Python's numbers is double. double: all in double.
template <class Real>
RopeFrequencies<Real> rope_frequencies(const RopeParameters& rope, std::size_t dims,
                                       std::size_t length);

// The default of RopeParameters::attention_factor.
double yarn_attention_factor(double factor, double mscale = 1);
double longrope_attention_factor(double factor, double original_length);

// 1 + growth * log(1 + floor(position / length)), by which queries may grow.
double position_factor(double growth, double length, double position);

// cos and sin, [dims / 2], of angle = position * inv_freq[i], times the attention factor. Not
// rounded to BF16.
template <class Real>
void rope_row(const RopeFrequencies<Real>& frequencies, std::size_t position, Real* cos, Real* sin);

// The rows of positions that a run computes together, chunk by chunk. Frequencies that depend on
// the sequence's length are those of the sequence up to the chunk's end.
template <class Real>
class RopeRows {
 public:
  RopeRows(RopeParameters rope, std::size_t dims) : rope_(std::move(rope)), dims_(dims) {}

  // cos and sin, [end - begin, dims / 2], of positions [begin, end).
  void compute(std::size_t begin, std::size_t end, Real* cos, Real* sin) {
    if (rope_.depend_on_length() || frequencies_.inv_freq.empty()) {
      frequencies_ = rope_frequencies<Real>(rope_, dims_, end);
    }
    for (std::size_t p = begin; p < end; ++p, cos += dims_ / 2, sin += dims_ / 2) {
      rope_row(frequencies_, p, cos, sin);
    }
  }

 private:
  RopeParameters rope_;
  std::size_t dims_;
  RopeFrequencies<Real> frequencies_ = {};
};

}  // namespace assay
