// The order of a token's experts, which is of no meaning: equal router logits leave any.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "assay/array.h"
#include "models/taps.h"

namespace assay {

// Taps with a place for each of a token's experts: [1, S, K, ...].
constexpr bool has_expert_slots(Tap tap, bool sparse) {
  const bool of_mlp = tap == Tap::kGateProj || tap == Tap::kUpProj || tap == Tap::kMlpAct;
  return tap == Tap::kExpertIds || tap == Tap::kExpertWeights || (sparse && of_mlp);
}

// Where another run has the reference's experts.
struct ExpertSlots {
  std::size_t per_token = 0;
  std::vector<std::size_t> from;  // [tokens * per_token]: the other run's slot for the reference's
  std::vector<std::size_t> other_experts;  // tokens that go to others
};

// expert_ids [1, S, K] of one layer in the reference and in the other run, which may have the last
// position alone; none where they have other sizes.
std::optional<ExpertSlots> match_experts(const ArrayView& reference, const ArrayView& other);

// The other run's array, laid out as the reference's or as its last position, with its slots in the
// reference's order; none where they stand in it, or of positions whose experts are not known.
std::optional<Array> in_order_of(const ExpertSlots& slots, const ArrayView& array);

}  // namespace assay
