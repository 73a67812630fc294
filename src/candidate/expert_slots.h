// The order of a token's experts, which has no meaning: with equal router logits it is arbitrary.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "assay/array.h"
#include "models/taps.h"

namespace assay {

// Taps with a slot for each of a token's experts: [1, S, K, ...].
constexpr bool has_expert_slots(Tap tap, bool sparse) {
  const bool of_mlp = tap == Tap::kGateProj || tap == Tap::kUpProj || tap == Tap::kMlpAct;
  return tap == Tap::kExpertIds || tap == Tap::kExpertWeights || (sparse && of_mlp);
}

// Where the reference's experts are in another run.
struct ExpertSlots {
  std::size_t per_token = 0;
  std::vector<std::size_t> from;  // [tokens * per_token]: the other run's slot of that expert
  std::vector<std::size_t> other_experts;  // tokens with different experts
};

// expert_ids [1, S, K] of one layer in the reference and in the other run, which may have only the
// last position; none if other sizes differ.
std::optional<ExpertSlots> match_experts(const ArrayView& reference, const ArrayView& other);

// The other run's array, laid out as the reference's or as its last position, with its slots in the
// reference's order; none if it has that order already, or the experts of its positions are
// unknown.
std::optional<Array> in_order_of(const ExpertSlots& slots, const ArrayView& array);

}  // namespace assay
