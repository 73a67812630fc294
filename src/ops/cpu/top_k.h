// An MoE's choice of experts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "models/program.h"

namespace assay {

// The places of the k greatest values, greatest first, or unsorted in the order in which torch.topk
// leaves them on a CPU; of equal values those that it takes. 1 <= k <= values.size().
template <class Real>
std::vector<std::size_t> top_k(std::span<const Real> values, std::size_t k, bool sorted = true);

// A token's experts, from its scores.
template <class Real>
std::vector<std::size_t> chosen_experts(const TopExperts& top, std::span<const Real> scores);

}  // namespace assay
