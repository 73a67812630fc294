// The rotary embedding's frequencies, and cos and sin of the angles.
#pragma once

#include <cstddef>
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

// cos and sin, [dims / 2], of angle = position * inv_freq[i], times the attention factor. Not
// rounded to BF16.
template <class Real>
void rope_row(const RopeFrequencies<Real>& frequencies, std::size_t position, Real* cos, Real* sin);

}  // namespace assay
