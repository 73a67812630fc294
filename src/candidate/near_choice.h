// Choices of experts between groups of nearly equal sums.
#pragma once

#include <cstdint>
#include <span>

#include "models/spec.h"

namespace assay {

// How a router leaves out groups of experts; count 1: it does not.
struct ExpertGroups {
  std::int64_t count = 1;
  std::int64_t kept = 1;
};

ExpertGroups groups_of(const ModelSpec& model);

// Whether a router that chooses by these scores, each off by up to half the tolerance, may have
// chosen these experts: any groups that may be among the kept ones, and their best experts. ids:
// different numbers below scores.size().
bool is_near_choice(std::span<const double> scores, const ExpertGroups& groups,
                    std::span<const std::size_t> ids, double tolerance);

}  // namespace assay
