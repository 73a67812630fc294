#include "ops/cpu/top_k.h"

#include <algorithm>
#include <utility>

namespace assay {

// torch (2.13, aten/src/ATen/native/cpu/SortingKernel's topk) runs the standard library's unstable
// algorithms over (value, place): these algorithms of libstdc++ decide which of equal values is
// taken, and in which order. BF16 logits often have such ties.
template <class Real>
std::vector<std::size_t> top_k(std::span<const Real> values, std::size_t k) {
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
    std::sort(queue.begin(), last - 1, before);
  }
  std::vector<std::size_t> places;
  for (auto item = queue.begin(); item != last; ++item) places.push_back(item->second);
  return places;
}

template std::vector<std::size_t> top_k(std::span<const float>, std::size_t);
template std::vector<std::size_t> top_k(std::span<const double>, std::size_t);

}  // namespace assay
