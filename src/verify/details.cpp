#include "verify/details.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/widen.h"
#include "metrics/pair_sums.h"
#include "metrics/rows.h"

namespace assay {
namespace {

constexpr std::size_t kWorst = 10;
constexpr std::size_t kBins = 48;

// Visits every pair of rows, as double.
template <class Visit>
void for_each_row(const ArrayView& reference, const Rows& rows, const ArrayView& candidate,
                  const Reading& reading, const Visit& visit) {
  const CandidateRows candidates(candidate, reading, rows.width);
  const std::size_t item = dtype_size(reference.dtype);
  std::vector<double> x(rows.width);
  std::vector<double> y(rows.width);
  const std::size_t count = reading.last_position ? rows.lead : rows.count();
  for (std::size_t r = 0; r < count; ++r) {
    const std::size_t row = reading.last_position ? r * rows.positions + rows.positions - 1 : r;
    widen(reference.dtype, reference.bytes.data() + row * rows.width * item,
          static_cast<std::ptrdiff_t>(item), std::span(x));
    candidates.read(r, 0, std::span(y));
    visit(row, x, y);
  }
}

bool is_hidden(double reference) {
  return std::isfinite(reference) && reference < PairSums::kHidden;
}

// The scale of the bins: x -> asinh(x / typical), which is linear near 0 and logarithmic far away.
struct Scale {
  double typical = 1;  // geometric mean of the non-zero magnitudes
  double low = 0;      // of asinh(x / typical)
  double high = 0;

  double at(double x) const { return std::asinh(x / typical); }
  std::size_t bin(double x) const {
    const double t = (at(x) - low) / (high - low) * kBins;
    return std::min(kBins - 1, static_cast<std::size_t>(std::max(t, 0.0)));
  }
  double edge(std::size_t i) const {
    return typical * std::sinh(low + (high - low) * static_cast<double>(i) / kBins);
  }
};

struct Extent {
  double least = std::numeric_limits<double>::infinity();
  double most = -std::numeric_limits<double>::infinity();
  double logs = 0;
  std::int64_t count = 0;

  void add(double x) {
    if (!std::isfinite(x)) return;
    least = std::min(least, x);
    most = std::max(most, x);
    if (x == 0) return;
    logs += std::log(std::abs(x));
    ++count;
  }
  Scale scale() const {
    Scale scale;
    if (count > 0) scale.typical = std::exp(logs / static_cast<double>(count));
    scale.low = scale.at(least);
    scale.high = scale.at(most);
    // With a single value, a bin around it.
    if (!(scale.high > scale.low)) {
      scale.low -= 0.5;
      scale.high += 0.5;
    }
    return scale;
  }
};

// Keeps the elements that differ most.
class Worst {
 public:
  void add(std::size_t flat, double x, double y) {
    if (x == y || (std::isnan(x) && std::isnan(y))) return;
    double difference = std::abs(x - y);
    if (std::isnan(difference)) difference = std::numeric_limits<double>::infinity();
    if (all_.size() == kWorst && difference <= all_.back().difference) return;
    if (all_.size() == kWorst) all_.pop_back();
    // Among equals the first in the array comes first.
    const auto at = std::ranges::upper_bound(all_, difference, std::greater<>(), &Bad::difference);
    all_.insert(at, {difference, flat, x, y});
  }

  std::vector<TensorDetail::Element> elements(std::span<const std::int64_t> shape) const {
    std::vector<TensorDetail::Element> elements;
    for (const Bad& bad : all_) elements.push_back({index_in(shape, bad.flat), bad.x, bad.y});
    return elements;
  }

 private:
  struct Bad {
    double difference;
    std::size_t flat;
    double x;
    double y;
  };
  std::vector<Bad> all_;  // worst first
};

}  // namespace

TensorDetail measure_details(const ArrayView& reference, std::size_t position_axis,
                             const ArrayView& candidate, const Reading& reading) {
  const Rows rows = rows_of(reference.shape, position_axis);
  TensorDetail detail;
  if (rows.count() * rows.width == 0) return detail;
  Worst worst;
  Extent extent;
  for_each_row(reference, rows, candidate, reading,
               [&](std::size_t row, const std::vector<double>& x, const std::vector<double>& y) {
                 for (std::size_t i = 0; i < x.size(); ++i) {
                   if (is_hidden(x[i])) continue;
                   extent.add(x[i]);
                   extent.add(y[i]);
                   worst.add(row * rows.width + i, x[i], y[i]);
                 }
               });
  detail.worst = worst.elements(reference.shape);
  if (!(extent.least <= extent.most)) return detail;  // no finite values
  const Scale scale = extent.scale();
  for (std::size_t i = 0; i <= kBins; ++i) detail.edges.push_back(scale.edge(i));
  detail.reference_counts.resize(kBins);
  detail.candidate_counts.resize(kBins);
  for_each_row(reference, rows, candidate, reading,
               [&](std::size_t, const std::vector<double>& x, const std::vector<double>& y) {
                 for (std::size_t i = 0; i < x.size(); ++i) {
                   if (is_hidden(x[i])) continue;
                   if (std::isfinite(x[i])) ++detail.reference_counts[scale.bin(x[i])];
                   if (std::isfinite(y[i])) ++detail.candidate_counts[scale.bin(y[i])];
                 }
               });
  return detail;
}

}  // namespace assay
