#include "ops/cpu/top_k.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace assay {

// torch (2.13, aten/src/ATen/native/cpu/SortingKernel's topk) runs the standard library's unstable
// algorithms over (value, place): these algorithms of libstdc++ decide which of equal values is
// taken, and in which order. BF16 logits often have such ties.
template <class Real>
std::vector<std::size_t> top_k(std::span<const Real> values, std::size_t k, bool sorted) {
  using Item = std::pair<Real, std::size_t>;
  std::vector<Item> queue;
  queue.reserve(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) queue.emplace_back(values[i], i);
  const auto is_nan = [](Real x) { return x != x; };
  const auto before = [&](const Item& a, const Item& b) {
    return (is_nan(a.first) && !is_nan(b.first)) || a.first > b.first;
  };
  const auto last = queue.begin() + static_cast<std::ptrdiff_t>(k);
  if (k * 64 <= values.size()) {
    std::partial_sort(queue.begin(), last, queue.end(), before);
  } else {
    std::nth_element(queue.begin(), last - 1, queue.end(), before);
    if (sorted) std::sort(queue.begin(), last - 1, before);
  }
  std::vector<std::size_t> places;
  for (auto item = queue.begin(); item != last; ++item) places.push_back(item->second);
  return places;
}

// Experts of groups that are not kept have the score -infinity, and may still be chosen if there
// are too few others.
template <class Real>
std::vector<std::size_t> chosen_experts(const TopExperts& top, std::span<const Real> scores) {
  const auto k = static_cast<std::size_t>(top.per_token);
  if (top.groups == 1) return top_k(scores, k, top.sorted);
  const auto groups = static_cast<std::size_t>(top.groups);
  const std::size_t size = scores.size() / groups;
  std::vector<Real> sums;
  for (std::size_t g = 0; g < groups; ++g) {
    const auto group = scores.subspan(g * size, size);
    Real sum = 0;
    for (const std::size_t best : top_k(group, std::min<std::size_t>(2, size))) sum += group[best];
    sums.push_back(sum);
  }
  std::vector<Real> masked(scores.size(), -std::numeric_limits<Real>::infinity());
  for (const std::size_t g :
       top_k(std::span<const Real>(sums), static_cast<std::size_t>(top.kept), false)) {
    std::ranges::copy(scores.subspan(g * size, size),
                      masked.begin() + static_cast<std::ptrdiff_t>(g * size));
  }
  return top_k(std::span<const Real>(masked), k, top.sorted);
}

template std::vector<std::size_t> top_k(std::span<const float>, std::size_t, bool);
template std::vector<std::size_t> top_k(std::span<const double>, std::size_t, bool);
template std::vector<std::size_t> chosen_experts(const TopExperts&, std::span<const float>);
template std::vector<std::size_t> chosen_experts(const TopExperts&, std::span<const double>);

}  // namespace assay
