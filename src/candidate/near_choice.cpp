#include "candidate/near_choice.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <vector>

namespace assay {
namespace {

// As in transformers, a group counts by its two best experts.
double sum_of_best(std::span<const double> group) {
  std::vector<double> best(group.begin(), group.end());
  std::ranges::sort(best, std::greater<>());
  return best.front() + (best.size() > 1 ? best[1] : 0);
}

}  // namespace

ExpertGroups groups_of(const ModelSpec& model) {
  return {model.moe.router.groups, model.moe.router.kept_groups};
}

bool is_near_choice(std::span<const double> scores, const ExpertGroups& groups,
                    std::span<const std::size_t> ids, double tolerance) {
  const auto count = static_cast<std::size_t>(groups.count);
  const auto kept = static_cast<std::size_t>(groups.kept);
  if (count == 0 || kept == 0 || kept > count || scores.empty() || scores.size() % count != 0) {
    return false;
  }
  const std::size_t size = scores.size() / count;
  std::vector<double> sums;
  for (std::size_t g = 0; g < count; ++g) {
    sums.push_back(sum_of_best(scores.subspan(g * size, size)));
  }
  std::vector<double> sorted = sums;
  std::ranges::sort(sorted, std::greater<>());
  const double last_in = sorted[kept - 1];
  const double first_out = kept < count ? sorted[kept] : -std::numeric_limits<double>::infinity();
  // Two scores are added up. A group is certainly kept if it is clearly better than the first that
  // is not, and may be if it is not clearly worse than the last that is.
  std::vector<bool> used(count);
  for (const std::size_t id : ids) used[id / size] = true;
  std::vector<std::size_t> in;
  std::vector<std::size_t> open;
  for (std::size_t g = 0; g < count; ++g) {
    const bool may_be = sums[g] >= last_in - 2 * tolerance;
    if (used[g] && !may_be) return false;
    if (sums[g] > first_out + 2 * tolerance || used[g]) {
      in.push_back(g);
    } else if (may_be) {
      open.push_back(g);
    }
  }
  if (in.size() > kept) return false;
  // Of the groups that may be kept besides, those with the least rivals.
  const auto best_of = [&](std::size_t g) {
    return *std::ranges::max_element(scores.subspan(g * size, size));
  };
  std::ranges::sort(open, {}, best_of);
  if (in.size() + open.size() < kept) return false;
  in.insert(in.end(), open.begin(), open.begin() + static_cast<std::ptrdiff_t>(kept - in.size()));
  double worst = std::numeric_limits<double>::infinity();
  for (const std::size_t id : ids) worst = std::min(worst, scores[id]);
  for (const std::size_t g : in) {
    for (std::size_t e = g * size; e < (g + 1) * size; ++e) {
      if (std::ranges::find(ids, e) == ids.end() && scores[e] > worst + tolerance) return false;
    }
  }
  return true;
}

}  // namespace assay
