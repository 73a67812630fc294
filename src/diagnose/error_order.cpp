#include "diagnose/error_order.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "numerics/noise.h"

namespace assay {
namespace {

// Sums of terms with random signs, in standard deviations. A row of a head counts as one term,
// because its errors are correlated (its probabilities were rounded once for all channels).
constexpr double kBeyondChance = 5;
// At least this part of the squared errors must be systematic: values that were rounded once are
// read by many rows.
constexpr double kOneSided = 0.1;
// The relative error of one row, head or channel, divided by the median one. Values rounded to BF16
// or F16, one by one or in a whole attention, stay below 3 in the engines measured (docs/arena.md,
// transformers); channels, which have fewer values each, below 5.
constexpr double kUneven = 4;
constexpr double kUnevenChannels = 8;
constexpr double kGrowth = 2;
// Parts with fewer values are not judged.
constexpr double kFewest = 16;

struct Sums {
  double error = 0;  // squares
  double size = 0;
  double count = 0;
  double relative() const { return size > 0 ? std::sqrt(error / size) : 0; }
};

// Only of parts with enough values.
std::vector<double> relative_errors(const std::vector<Sums>& parts) {
  std::vector<double> all;
  for (const Sums& part : parts) {
    if (part.count >= kFewest && part.size > 0) all.push_back(part.relative());
  }
  return all;
}

bool is_uneven(const std::vector<Sums>& parts, double limit) {
  std::vector<double> all = relative_errors(parts);
  if (all.size() < 2) return false;
  std::ranges::sort(all);
  const double median = all[(all.size() - 1) / 2];
  return all.back() > limit * median;
}

bool grows(const std::vector<Sums>& rows) {
  const std::vector<double> all = relative_errors(rows);
  if (all.size() < 9) return false;
  const std::size_t third = all.size() / 3;
  const auto mean = [&](std::size_t from) {
    double sum = 0;
    for (std::size_t i = from; i < from + third; ++i) sum += all[i];
    return sum / static_cast<double>(third);
  };
  const double early = mean(0);
  const double middle = mean(third);
  const double late = mean(all.size() - third);
  return late > kGrowth * early && middle > early && late > middle;
}

}  // namespace

std::string ErrorOrder::text() const {
  const std::size_t row_size = right.size() / rows;
  const std::size_t width = row_size / parts;
  std::vector<Sums> of_row(rows);
  std::vector<Sums> of_part(parts);
  std::vector<Sums> of_channel(row_size);
  struct Term {
    double sum = 0;
    double along = 0;  // along the values
  };
  std::vector<Term> terms(rows * parts);
  double squares = 0;
  double size = 0;
  double count = 0;
  for (std::size_t k = 0; k < right.size(); ++k) {
    const auto x = static_cast<double>(right[k]);
    const auto y = static_cast<double>(candidate[k]);
    if (!std::isfinite(x) || !std::isfinite(y) || x < kHiddenScore || y < kHiddenScore) continue;
    const double e = y - x;
    squares += e * e;
    size += x * x;
    ++count;
    Term& term = terms[k / width];
    term.sum += e;
    term.along += e * x;
    for (Sums* sums :
         {&of_row[k / row_size], &of_part[k % row_size / width], &of_channel[k % row_size]}) {
      sums->error += e * e;
      sums->size += x * x;
      ++sums->count;
    }
  }
  if (squares == 0) return {};
  // of: the squares that the errors are compared with.
  const auto is_one_sided = [&](double Term::*value, double of) {
    double sum = 0;
    double sum_of_squares = 0;
    for (const Term& term : terms) {
      sum += term.*value;
      sum_of_squares += term.*value * (term.*value);
    }
    return std::abs(sum) > kBeyondChance * std::sqrt(sum_of_squares) &&
           sum * sum > kOneSided * of * squares;
  };
  if (is_one_sided(&Term::along, size)) return "proportional to the values";
  if (is_one_sided(&Term::sum, count)) return "of one sign";
  if (rows_are_positions && grows(of_row)) return "larger at later positions";
  if (is_uneven(of_part, kUneven)) return "in some heads";
  if (is_uneven(of_row, kUneven)) {
    return rows_are_positions ? "at some positions" : "in some heads";
  }
  return is_uneven(of_channel, kUnevenChannels) ? "in some channels" : "";
}

}  // namespace assay
