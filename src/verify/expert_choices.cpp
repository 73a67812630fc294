#include "verify/expert_choices.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/widen.h"
#include "candidate/expert_slots.h"
#include "candidate/positions.h"
#include "metrics/logits.h"

namespace assay {
namespace {

// A token goes to one expert instead of another.
struct Swap {
  std::size_t token = 0;
  double own = 0;
  double theirs = 0;
  bool twice = false;  // the token already goes there
};

// The swaps of all tokens whose experts differ from the reference's.
std::vector<Swap> swaps_of(const ExpertSlots& slots, const RoutedTokens& tokens) {
  const std::vector<double> own = widened(tokens.reference);
  const std::optional<Array> moved = in_order_of(slots, tokens.candidate);
  const std::vector<double> theirs = widened(moved ? moved->view() : tokens.candidate);
  const std::size_t k = slots.per_token;
  std::vector<Swap> swaps;
  for (const std::size_t token : slots.other_experts) {
    for (std::size_t i = token * k; i < (token + 1) * k; ++i) {
      if (own[i] == theirs[i]) continue;
      const std::span all = std::span(theirs).subspan(token * k, k);
      swaps.push_back({token, own[i], theirs[i], std::ranges::count(all, theirs[i]) > 1});
    }
  }
  return swaps;
}

// What is wrong with a swap; empty if the router's scores are nearly equal.
std::string about(const Swap& swap, std::int64_t position, const std::vector<double>& scores,
                  std::size_t experts) {
  const auto is_expert = [&](double id) {
    return id >= 0 && id < static_cast<double>(experts) && std::trunc(id) == id;
  };
  std::string what = fmt::format("position {} is routed to expert {} instead of {}", position,
                                 swap.theirs, swap.own);
  if (!is_expert(swap.theirs) || !is_expert(swap.own)) return what;
  if (swap.twice) return what + fmt::format(": {} is chosen twice", swap.theirs);
  const double a = scores[swap.token * experts + static_cast<std::size_t>(swap.own)];
  const double b = scores[swap.token * experts + static_cast<std::size_t>(swap.theirs)];
  if (std::abs(a - b) <= kTieSteps * bf16_step(a)) return {};
  return what + fmt::format(": router scores {:.5g} and {:.5g}", b, a);
}

// Whether the token's experts are the best of other groups with nearly equal sums.
bool is_near(std::size_t token, const ExpertSlots& slots, const RoutedTokens& tokens,
             const std::vector<double>& scores) {
  if (tokens.groups.count < 2 || scores.empty()) return false;
  const std::size_t k = slots.per_token;
  const std::size_t experts = scores.size() / (slots.from.size() / k);
  const std::vector<double> theirs = widened(tokens.candidate);
  const std::span own = std::span(scores).subspan(token * experts, experts);
  std::vector<std::size_t> ids;
  for (const double id : std::span(theirs).subspan(token * k, k)) {
    if (!(id >= 0 && id < static_cast<double>(experts)) || std::trunc(id) != id) return false;
    const auto number = static_cast<std::size_t>(id);
    if (std::ranges::find(ids, number) != ids.end()) return false;
    ids.push_back(number);
  }
  return is_near_choice(own, tokens.groups, ids,
                        kTieSteps * bf16_step(*std::ranges::max_element(own)));
}

}  // namespace

std::array<std::string, 2> decided_by(std::int64_t layer, const ModelSpec& model) {
  return {tap_name(Tap::kRouterScores, layer, model), tap_name(Tap::kRouterLogits, layer, model)};
}

void ExpertChoices::judge(TensorResult& tensor, std::int64_t layer, const RoutedTokens& tokens) {
  const std::int64_t last = tokens.reference.shape.at(1) - 1;
  if (last < 1 || tokens.candidate.shape.at(1) != 1) return judge_all(tensor, layer, tokens);
  const auto of_last = [&](const ArrayView* array) {
    return array != nullptr ? slice_positions(*array, 1, {last, 1}) : Array();
  };
  const Array reference = of_last(&tokens.reference);
  const Array oracle = of_last(tokens.oracle);
  const Array scores = of_last(tokens.router_scores);
  const ArrayView reference_view = reference.view();
  const ArrayView oracle_view = oracle.view();
  const ArrayView scores_view = scores.view();
  judge_all(tensor, layer,
            {.reference = reference_view,
             .oracle = tokens.oracle != nullptr ? &oracle_view : nullptr,
             .router_scores = tokens.router_scores != nullptr ? &scores_view : nullptr,
             .candidate = tokens.candidate,
             .groups = tokens.groups,
             .first = tokens.first + last});
}

// All arrays have the same positions.
void ExpertChoices::judge_all(TensorResult& tensor, std::int64_t layer,
                              const RoutedTokens& tokens) {
  const std::optional<ExpertSlots> slots = match_experts(tokens.reference, tokens.candidate);
  if (!slots || tensor.verdict == Verdict::kError) return;
  tensor.verdict = Verdict::kPass;
  tensor.reason.clear();
  std::set<std::size_t> others(slots->other_experts.begin(), slots->other_experts.end());
  if (tokens.oracle != nullptr) {
    if (const auto exact = match_experts(*tokens.oracle, tokens.candidate)) {
      const std::set<std::size_t> unlike(exact->other_experts.begin(), exact->other_experts.end());
      std::erase_if(others, [&](std::size_t token) { return !unlike.contains(token); });
    }
  }
  const std::int64_t judged = same_until({Tap::kExpertIds, layer});
  std::erase_if(others, [&](std::size_t token) {
    return tokens.first + static_cast<std::int64_t>(token) >= judged;
  });
  if (others.empty()) return;
  const std::size_t count = slots->from.size() / slots->per_token;
  const std::vector<double> scores =
      tokens.router_scores != nullptr ? widened(*tokens.router_scores) : std::vector<double>();
  for (const Swap& swap : swaps_of(*slots, tokens)) {
    if (!others.contains(swap.token)) continue;
    const std::string wrong = about(swap, tokens.first + static_cast<std::int64_t>(swap.token),
                                    scores, scores.size() / count);
    if (wrong.empty() || is_near(swap.token, *slots, tokens, scores)) continue;
    tensor.verdict = Verdict::kFail;
    tensor.reason = wrong;
    return;
  }
  tensor.reason =
      fmt::format("{} of {} positions go to other experts with nearly equal router scores",
                  others.size(), count);
  const std::int64_t first = tokens.first + static_cast<std::int64_t>(*others.begin());
  const auto [known, is_new] = first_other_.emplace(layer, first);
  if (!is_new) known->second = std::min(known->second, first);
}

std::int64_t ExpertChoices::same_until(const TapPlace& place) const {
  std::int64_t least = kAll;
  for (const auto& [layer, first] : first_other_) {
    if (TapPlace{Tap::kExpertIds, layer} < place) least = std::min(least, first);
  }
  return least;
}

}  // namespace assay
