#include "candidate/stacked_layers.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace assay {

std::optional<std::vector<std::size_t>> assign_layers(
    const std::vector<std::vector<double>>& errors) {
  if (errors.empty()) return std::nullopt;
  const std::size_t states = errors.front().size();
  if (errors.size() > states) return std::nullopt;
  // An array that is wrong altogether must not outweigh the others.
  constexpr double kMostError = 10;
  const auto cost = [&](std::size_t i, std::size_t l) {
    const double error = errors[i][l];
    return std::isfinite(error) ? std::min(error, kMostError) : kMostError;
  };
  // least[i][l]: the sum for arrays 0 to i if array i is state l; from[i][l]: array i - 1's state.
  const double none = std::numeric_limits<double>::infinity();
  std::vector<std::vector<double>> least(errors.size(), std::vector<double>(states, none));
  std::vector<std::vector<std::size_t>> from(errors.size(), std::vector<std::size_t>(states, 0));
  for (std::size_t l = 0; l < states; ++l) least[0][l] = cost(0, l);
  for (std::size_t i = 1; i < errors.size(); ++i) {
    double best = none;
    std::size_t before = 0;
    for (std::size_t l = i; l < states; ++l) {
      if (least[i - 1][l - 1] < best) {
        best = least[i - 1][l - 1];
        before = l - 1;
      }
      least[i][l] = best + cost(i, l);
      from[i][l] = before;
    }
  }
  const std::vector<double>& last = least.back();
  std::vector<std::size_t> layers(errors.size());
  layers.back() = static_cast<std::size_t>(std::ranges::min_element(last) - last.begin());
  for (std::size_t i = errors.size() - 1; i > 0; --i) layers[i - 1] = from[i][layers[i]];
  return layers;
}

}  // namespace assay
