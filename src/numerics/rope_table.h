// The rotary embedding's cos and sin tables.
#pragma once

#include <cstddef>
#include <vector>

namespace assay {

// cos and sin of every position in [0, positions), row-major [positions, head_dim]; the head_dim/2
// values of a row stand twice, as transformers keeps them.
template <class Real>
struct RopeTable {
  std::size_t head_dim = 0;
  std::vector<Real> cos;
  std::vector<Real> sin;
};

// inv_freq[i] = 1 / theta^(2i / head_dim), angle = position * inv_freq[i] (RoFormer, arXiv
// 2104.09864, in the half-split pairing of GPT-NeoX and transformers).
// float: exponent, power, reciprocal and angle are each one FP32 operation, as transformers
// computes them whatever the model's dtype; the tables are not rounded to BF16. double: all in
// double.
template <class Real>
RopeTable<Real> make_rope_table(double theta, std::size_t head_dim, std::size_t positions);

}  // namespace assay
