#include "verify/compare_arrays.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "candidate/choose.h"
#include "candidate/positions.h"
#include "metrics/logits.h"
#include "metrics/metrics.h"
#include "numerics/noise.h"
#include "verify/precision.h"

namespace assay {
namespace {

// The error of a single rounding: a tap's noise is never taken to be less.
double rounding_floor(Numerics numerics) {
  if (numerics == Numerics::kBf16) return one_rounding(Grid::kBf16);
  return numerics == Numerics::kF64 ? one_rounding(Grid::kF32) * 0x1p-29 : one_rounding(Grid::kF32);
}

// Returns the likeliest reading, or one whose content fits if that one's is far off. The metrics
// are those under the returned reading.
std::optional<Reading> read_by_content(TensorResult& tensor, const Truth& truth,
                                       const ArrayView& candidate, ThreadPool* pool) {
  const Shape& shape = truth.reference.shape;
  std::vector<Reading> all =
      readings_of(tensor.name, shape, truth.position_axis, candidate.shape, truth.hints);
  if (all.empty()) {
    tensor.verdict = Verdict::kError;
    tensor.other_rows = differs_in_rows(candidate.shape, shape, truth.position_axis);
    tensor.reason = fmt::format("shape {} cannot be read as the reference's {}",
                                shape_text(candidate.shape), shape_text(shape));
    return std::nullopt;
  }
  Choice choice = choose_reading(truth.reference, truth.position_axis, candidate, all, pool);
  tensor.metrics = std::move(choice.metrics);
  Reading reading = std::move(all[choice.index]);
  if (choice.index > 0 && !reading.text.empty()) {
    reading.text += fmt::format(" (of {} readings the one whose content fits)", all.size());
  }
  reading.text += about_left_out_keys(tensor.name, shape, candidate, reading);
  return reading;
}

// The ratio of the candidate's error to the reference's, both from the oracle.
void measure_noise(TensorResult& tensor, const Truth& truth, const ArrayView& candidate,
                   const Reading& reading, ThreadPool* pool) {
  const TensorMetrics own = measure(*truth.oracle, truth.position_axis, truth.reference,
                                    same_layout(truth.reference.shape), pool);
  if (truth.files != nullptr) truth.files->expect_own_oracle(tensor.name, own, truth.is_whole);
  const TensorMetrics other = measure(*truth.oracle, truth.position_axis, candidate, reading, pool);
  tensor.oracle_error = {other.relative_l2, other.position_error};
  double floor = std::max(rounding_floor(truth.numerics), truth.least_noise);
  // A position's only value may have cancelled. Over many positions the reference's own error tells
  // how far it is off then, over few it does not.
  const auto positions = static_cast<double>(own.position_error.size());
  const bool single =
      static_cast<double>(element_count(truth.reference.shape, tensor.name)) == positions;
  if (single) floor *= std::max(1.0, 16 / std::sqrt(positions));
  if (reading.last_position) {
    tensor.noise = std::max(largest(own.position_error), floor);
    tensor.noise_ratio = tensor.position_ratio = other.position_error.back() / *tensor.noise;
    return;
  }
  for (const double error : own.position_error) {
    tensor.oracle_error->own.push_back(std::max(error, floor));
  }
  tensor.noise = std::max(own.relative_l2, floor);
  tensor.noise_ratio = other.relative_l2 / *tensor.noise;
  tensor.position_ratio = truth.judges_positions && !single
                              ? root_mean_square(other.position_error) /
                                    std::max(root_mean_square(own.position_error), floor)
                              : tensor.noise_ratio;
}

void measure_and_judge(TensorResult& tensor, const Truth& truth, const ArrayView& candidate,
                       const Reading& reading, const Profile& profile, ThreadPool* pool) {
  if (truth.oracle != nullptr) measure_noise(tensor, truth, candidate, reading, pool);
  if (tensor.name == "logits") {
    tensor.logits = measure_logits(truth.reference, candidate, reading, pool);
  }
  judge(tensor, profile);
}

// Judges a failed tensor by the positions before `same_until`, because later ones may differ.
void judge_before(TensorResult& tensor, const Truth& truth, const ArrayView& candidate,
                  const Reading& reading, const Profile& profile, ThreadPool* pool) {
  constexpr std::string_view kWhy = "a token went to other experts, of nearly equal router scores";
  if (truth.same_until == 0 || reading.last_position) {
    tensor.verdict = Verdict::kNotCompared;
    tensor.reason = fmt::format("{} before what is here", kWhy);
    return;
  }
  const std::size_t axis = truth.position_axis;
  const Positions kept{0, truth.same_until};
  const Array own = slice_positions(truth.reference, axis, kept);
  const Array theirs =
      slice_positions(laid_out(truth.reference.shape, axis, candidate, reading).view(), axis, kept);
  const Array exact =
      truth.oracle != nullptr ? slice_positions(*truth.oracle, axis, kept) : Array();
  const ArrayView own_view = own.view();
  const ArrayView exact_view = exact.view();
  const Truth first{.reference = own_view,
                    .oracle = truth.oracle != nullptr ? &exact_view : nullptr,
                    .position_axis = axis,
                    .numerics = truth.numerics,
                    .least_noise = truth.least_noise,
                    .judges_positions = truth.judges_positions,
                    .files = truth.files};
  const Reading same = same_layout(own.shape);
  tensor.metrics = measure(own_view, axis, theirs.view(), same, pool);
  tensor.reason.clear();
  measure_and_judge(tensor, first, theirs.view(), same, profile, pool);
  if (!tensor.reading.empty()) tensor.reading += "; ";
  tensor.reading += fmt::format("positions from {} on left out: {}", truth.same_until, kWhy);
}

}  // namespace

std::optional<Reading> compare_arrays(TensorResult& tensor, const Truth& truth,
                                      const ArrayView& candidate, const Profile& profile,
                                      ThreadPool* pool) {
  std::optional<Reading> reading = read_by_content(tensor, truth, candidate, pool);
  if (!reading) return std::nullopt;
  tensor.reading = reading->text;
  tensor.grid = grid_of(candidate);
  measure_and_judge(tensor, truth, candidate, *reading, profile, pool);
  if (truth.same_until >= truth.reference.shape[truth.position_axis]) return reading;
  tensor.same_until = truth.same_until;
  if (tensor.verdict == Verdict::kFail) {
    judge_before(tensor, truth, candidate, *reading, profile, pool);
  }
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
