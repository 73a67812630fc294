// Which experts the candidate's tokens go to, and which positions are still comparable after that.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <string>

#include "assay/array.h"
#include "assay/comparison.h"
#include "candidate/data_flow.h"
#include "candidate/near_choice.h"

namespace assay {

// expert_ids [1, S, K] of one layer.
struct RoutedTokens {
  const ArrayView& reference;
  const ArrayView* oracle = nullptr;  // its ids; null: none recorded
  // The reference's [1, S, E], by which experts are chosen; null: not recorded. See decided_by().
  const ArrayView* router_scores = nullptr;
  const ArrayView& candidate;  // in the reference's layout, or its last position
  ExpertGroups groups = {};    // of the router
  std::int64_t first = 0;      // the sequence's position of their first token
};

// The names of the layer's array by which experts are chosen, the first of them that there is: the
// corrected scores, or the logits.
std::array<std::string, 2> decided_by(std::int64_t layer, const ModelSpec& model);

// A token may go to other experts than the reference's if the router's scores are equal or nearly
// so, or if the oracle sends it there. Then the results of this token, and of later ones, which
// attend to it, differ from the reference's.
class ExpertChoices {
 public:
  // Sets the verdict of the layer's expert_ids. A choice of experts is right or wrong, without a
  // tolerance: the reference's experts pass, the oracle's, and others with nearly equal scores;
  // positions from same_until() on are not judged. Call it for one layer after the other.
  void judge(TensorResult& tensor, std::int64_t layer, const RoutedTokens& tokens);

  // Number of positions of a tap's array before the first token that went upstream to experts of
  // neither the reference nor the oracle; the largest number if there is none.
  std::int64_t same_until(const TapPlace& place) const;

  static constexpr std::int64_t kAll = std::numeric_limits<std::int64_t>::max();

 private:
  void judge_all(TensorResult& tensor, std::int64_t layer, const RoutedTokens& tokens);

  std::map<std::int64_t, std::int64_t> first_other_;  // by layer: position
};

}  // namespace assay
