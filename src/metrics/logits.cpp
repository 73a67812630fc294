#include "metrics/logits.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "base/widen.h"

namespace assay {
namespace {

// Best first; the lowest id first among equals (like torch.argmax); NaN last.
std::vector<std::size_t> best_ids(std::span<const double> row, std::size_t count) {
  std::vector<std::size_t> ids(row.size());
  std::iota(ids.begin(), ids.end(), std::size_t{0});
  count = std::min(count, ids.size());
  const auto better = [&](std::size_t a, std::size_t b) {
    const double x = std::isnan(row[a]) ? -INFINITY : row[a];
    const double y = std::isnan(row[b]) ? -INFINITY : row[b];
    return x != y ? x > y : a < b;
  };
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count), ids.end(),
                    better);
  ids.resize(count);
  return ids;
}

std::vector<LogitMetrics::Score> scores(std::span<const double> row,
                                        const std::vector<std::size_t>& ids) {
  std::vector<LogitMetrics::Score> all;
  for (const std::size_t id : ids) all.push_back({static_cast<std::int64_t>(id), row[id]});
  return all;
}

// log(sum(exp(row))), computed relative to the largest element.
double log_sum_exp(std::span<const double> row) {
  const double largest = *std::ranges::max_element(row);
  double sum = 0;
  for (const double x : row) sum += std::exp(x - largest);
  return largest + std::log(sum);
}

double kl_divergence(std::span<const double> p, std::span<const double> q) {
  const double log_p = log_sum_exp(p);
  const double log_q = log_sum_exp(q);
  double sum = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    const double probability = std::exp(p[i] - log_p);
    if (probability > 0) sum += probability * ((p[i] - log_p) - (q[i] - log_q));
  }
  return std::max(sum, 0.0);  // rounding may leave -1e-17
}

}  // namespace

double bf16_step(double x) {
  if (x == 0 || !std::isfinite(x)) return 0;
  return std::ldexp(1.0, std::ilogb(x) - 7);
}

LogitMetrics measure_logits(const ArrayView& reference, const ArrayView& candidate,
                            const Layout& layout, ThreadPool* pool) {
  const Rows rows = rows_of(reference.shape, 1);
  const CandidateRows candidates(candidate, layout, rows.width);
  const std::size_t first = layout.last_position ? rows.positions - 1 : 0;
  struct Position {
    std::optional<LogitMetrics::Flip> flip;
    double common = 0;  // part of the five best
    double kl_divergence = 0;
    std::vector<LogitMetrics::Score> best_of_reference;
    std::vector<LogitMetrics::Score> best_of_candidate;
  };
  std::vector<Position> positions(rows.width == 0 ? 0 : rows.positions - first);
  const auto measure_position = [&](std::size_t i) {
    std::vector<double> x(rows.width);
    std::vector<double> y(rows.width);
    const std::size_t p = first + i;
    const std::size_t item = dtype_size(reference.dtype);
    widen(reference.dtype, reference.bytes.data() + p * rows.width * item,
          static_cast<std::ptrdiff_t>(item), std::span(x));
    candidates.read(i, 0, std::span(y));
    const std::vector<std::size_t> best = best_ids(x, 5);
    const std::vector<std::size_t> other = best_ids(y, 5);
    if (best[0] != other[0]) {
      const double margin = x[best[0]] - x[other[0]];
      positions[i].flip = {static_cast<std::int64_t>(p), static_cast<std::int64_t>(best[0]),
                           static_cast<std::int64_t>(other[0]), margin,
                           margin / bf16_step(x[best[0]])};
    }
    const auto common = std::ranges::count_if(
        best, [&](std::size_t id) { return std::ranges::find(other, id) != other.end(); });
    positions[i].common = static_cast<double>(common) / static_cast<double>(best.size());
    positions[i].kl_divergence = kl_divergence(x, y);
    positions[i].best_of_reference = scores(x, best);
    positions[i].best_of_candidate = scores(y, other);
  };
  if (pool != nullptr) {
    pool->for_each_item(positions.size(), measure_position);
  } else {
    for (std::size_t i = 0; i < positions.size(); ++i) measure_position(i);
  }

  LogitMetrics m;
  const auto count = static_cast<double>(std::max<std::size_t>(positions.size(), 1));
  for (Position& position : positions) {
    m.best_of_reference.push_back(std::move(position.best_of_reference));
    m.best_of_candidate.push_back(std::move(position.best_of_candidate));
    if (position.flip) m.flips.push_back(*position.flip);
    m.top5_agreement += position.common / count;
    m.kl_divergence += position.kl_divergence / count;
  }
  m.top1_agreement = 1 - static_cast<double>(m.flips.size()) / count;
  return m;
}

}  // namespace assay
