#include "verify/compare_arrays.h"

#include <fmt/format.h>

#include <algorithm>

#include "candidate/choose.h"
#include "candidate/expert_slots.h"
#include "metrics/logits.h"
#include "metrics/metrics.h"
#include "numerics/noise.h"
#include "verify/precision.h"

namespace assay {
namespace {

// What one rounding alone makes: no tap's noise is taken for less.
double rounding_floor(std::string_view numerics) {
  if (numerics == "f32") return one_rounding(Grid::kF32);
  return numerics == "f64" ? one_rounding(Grid::kF32) * 0x1p-29 : one_rounding(Grid::kBf16);
}

// Sets the metrics under the reading that it returns: the likeliest one, unless its content is far
// off and another's is not.
std::optional<Reading> read_by_content(TensorResult& tensor, const Truth& truth,
                                       const ArrayView& candidate, ThreadPool* pool) {
  const Shape& shape = truth.reference.shape;
  std::vector<Reading> all =
      readings_of(tensor.name, shape, truth.position_axis, candidate.shape, truth.hints);
  if (all.empty()) {
    tensor.verdict = Verdict::kError;
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

// The candidate's error from the oracle over the reference's own.
void measure_noise(TensorResult& tensor, const Truth& truth, const ArrayView& candidate,
                   const Reading& reading, ThreadPool* pool) {
  const auto& [reference, oracle, axis, numerics, least_noise, hints] = truth;
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
  std::optional<Reading> reading = read_by_content(tensor, truth, candidate, pool);
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

void judge_experts(TensorResult& tensor, const ArrayView& reference, const ArrayView& candidate,
                   const Reading& reading, const ArrayView* router_logits) {
  const Array ids = laid_out(reference.shape, 1, candidate, reading);
  const std::optional<ExpertSlots> slots = match_experts(reference, ids.view());
  if (!slots || tensor.verdict == Verdict::kError) return;
  tensor.verdict = Verdict::kPass;
  tensor.reason.clear();
  if (slots->other_experts.empty()) return;
  bool wrong = false;
  tensor.reason = about_other_experts(*slots, reference, ids.view(), router_logits, wrong);
  if (wrong) tensor.verdict = Verdict::kFail;
}

bool is_rope_table(std::string_view name, std::span<const std::int64_t> shape) {
  return name.starts_with("rope_") && shape.size() == 3 && shape[0] == 1 && shape[1] > 0;
}

std::int64_t common_rope_rows(std::span<const std::int64_t> table,
                              std::span<const std::int64_t> candidate, std::int64_t prompt) {
  const std::int64_t width = candidate.empty() ? 0 : candidate.back();
  if (width < 1 || (width != table[2] && 2 * width != table[2])) return table[1];
  const std::int64_t rows = element_count(candidate, "a rotary table") / width;
  return prompt > 0 && rows >= prompt ? std::min(rows, table[1]) : table[1];
}

void cut_rows(ArrayView& table, std::int64_t rows) {
  const std::size_t row = table.bytes.size() / static_cast<std::size_t>(table.shape[1]);
  table.bytes = table.bytes.first(row * static_cast<std::size_t>(rows));
  table.shape[1] = rows;
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
