// Which experts the candidate's tokens go to, and what can be held against the reference behind
// them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>

#include "assay/array.h"
#include "assay/comparison.h"
#include "candidate/data_flow.h"

namespace assay {

// expert_ids [1, S, K] of one layer.
struct RoutedTokens {
  const ArrayView& reference;
  const ArrayView* oracle = nullptr;         // its ids; null: none recorded
  const ArrayView* router_logits = nullptr;  // the reference's [1, S, E]; null: not recorded
  const ArrayView& candidate;                // laid out as the reference's, or its last position
  std::int64_t first = 0;                    // the sequence's position of their first token
};

// A token may go to others than the reference's experts where the router's logits are equal or
// nearly so, or the oracle sends it there. What is computed from it then is not what the reference
// has: of this token, and of those behind it, which attend to it.
class ExpertChoices {
 public:
  // Which experts a token goes to is no number that may be a little off. Sets the verdict of the
  // layer's expert_ids: passed are the reference's experts, the oracle's, and others of nearly
  // equal logits; not judged is what same_until() leaves out. Layers come in their order.
  void judge(TensorResult& tensor, std::int64_t layer, const RoutedTokens& tokens);

  // Positions of a tap's array before the first token that went to other experts upstream of it
  // than both the reference and the oracle have; the largest number where there is none.
  std::int64_t same_until(const TapPlace& place) const;

  static constexpr std::int64_t kAll = std::numeric_limits<std::int64_t>::max();

 private:
  void judge_all(TensorResult& tensor, std::int64_t layer, const RoutedTokens& tokens);

  std::map<std::int64_t, std::int64_t> first_other_;  // by layer: position
};

}  // namespace assay
