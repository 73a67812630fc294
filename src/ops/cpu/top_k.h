// An MoE's choice of experts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace assay {

// The places of the k greatest values, greatest first; of equal ones those that torch.topk takes on
// a CPU. 1 <= k <= values.size().
template <class Real>
std::vector<std::size_t> top_k(std::span<const Real> values, std::size_t k);

}  // namespace assay
