#include "verify/compare_arrays.h"

#include <fmt/format.h>

#include <algorithm>

#include "metrics/logits.h"
#include "metrics/metrics.h"
#include "numerics/noise.h"
#include "verify/precision.h"

namespace assay {
namespace {

// A reading that lies this far off is doubted: another may fit by content.
constexpr double kDoubtful = 0.2;

// What one rounding alone makes: no tap's noise is taken for less.
double rounding_floor(std::string_view numerics) {
  if (numerics == "f32") return one_rounding(Grid::kF32);
  return numerics == "f64" ? one_rounding(Grid::kF32) * 0x1p-29 : one_rounding(Grid::kBf16);
}

// Sets the metrics under the reading that it returns: the least strange one, unless its content is
// far off and another's is not.
std::optional<Reading> choose_reading(TensorResult& tensor, const Truth& truth,
                                      const ArrayView& candidate, ThreadPool* pool) {
  const auto& [reference, oracle, axis, numerics, least_noise] = truth;
  std::vector<Reading> all = readings(reference.shape, axis, candidate.shape);
  if (all.empty() && tensor.name.starts_with("rope_")) {
    all = half_table_readings(reference.shape, candidate.shape);
  }
  if (all.empty()) {
    tensor.verdict = Verdict::kError;
    tensor.reason = fmt::format("shape {} cannot be read as the reference's {}",
                                shape_text(candidate.shape), shape_text(reference.shape));
    return std::nullopt;
  }
  std::size_t best = 0;
  tensor.metrics = measure(reference, axis, candidate, all[0], pool);
  for (std::size_t i = 1; i < all.size() && !(tensor.metrics.relative_l2 <= kDoubtful); ++i) {
    TensorMetrics metrics = measure(reference, axis, candidate, all[i], pool);
    if (metrics.relative_l2 < tensor.metrics.relative_l2 / 2) {
      tensor.metrics = std::move(metrics);
      best = i;
    }
  }
  if (best > 0 && !all[best].text.empty()) {
    all[best].text += fmt::format(" (of {} readings the one whose content fits)", all.size());
  }
  return std::move(all[best]);
}

// The candidate's error from the oracle over the reference's own.
void measure_noise(TensorResult& tensor, const Truth& truth, const ArrayView& candidate,
                   const Reading& reading, ThreadPool* pool) {
  const auto& [reference, oracle, axis, numerics, least_noise] = truth;
  const TensorMetrics own = measure(*oracle, axis, reference, same_layout(reference.shape), pool);
  const TensorMetrics other = measure(*oracle, axis, candidate, reading, pool);
  tensor.oracle_error = {other.relative_l2, other.position_error};
  const double floor = std::max(rounding_floor(numerics), least_noise);
  if (reading.last_position) {
    tensor.noise = std::max(largest(own.position_error), floor);
    tensor.noise_ratio = tensor.position_ratio = other.position_error.back() / *tensor.noise;
    return;
  }
  tensor.noise = std::max(own.relative_l2, floor);
  tensor.noise_ratio = other.relative_l2 / *tensor.noise;
  tensor.position_ratio = root_mean_square(other.position_error) /
                          std::max(root_mean_square(own.position_error), floor);
}

}  // namespace

std::optional<Reading> compare_arrays(TensorResult& tensor, const Truth& truth,
                                      const ArrayView& candidate, const Profile& profile,
                                      ThreadPool* pool) {
  std::optional<Reading> reading = choose_reading(tensor, truth, candidate, pool);
  if (!reading) return std::nullopt;
  tensor.reading = reading->text;
  tensor.grid = grid_of(candidate);
  if (truth.oracle != nullptr) measure_noise(tensor, truth, candidate, *reading, pool);
  if (tensor.name == "logits") {
    tensor.logits = measure_logits(truth.reference, candidate, *reading, pool);
  }
  judge(tensor, profile);
  return reading;
}

void compare_input_ids(TensorResult& tensor, std::span<const std::int64_t> reference,
                       std::span<const std::int64_t> candidate) {
  tensor.metrics.compared = static_cast<std::int64_t>(reference.size());
  if (std::ranges::equal(reference, candidate)) {
    tensor.verdict = Verdict::kPass;
    tensor.metrics.exact_share = 1;
    return;
  }
  const auto [a, b] = std::ranges::mismatch(reference, candidate);
  tensor.verdict = Verdict::kFail;
  tensor.reason =
      fmt::format("the candidate ran other tokens: {} against {}, different from position {} on",
                  candidate.size(), reference.size(), a - reference.begin());
}

}  // namespace assay
