#include "candidate/choose.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "candidate/data_flow.h"
#include "candidate/dump_forms.h"
#include "metrics/metrics.h"

namespace assay {
namespace {

// Difference in direction, whatever the scale: 0 for the same direction, 1 for orthogonal.
double apart(const TensorMetrics& m) { return std::isnan(m.cosine) ? 2 : 1 - m.cosine; }

}  // namespace

Choice choose_reading(const ArrayView& reference, std::size_t position_axis,
                      const ArrayView& candidate, std::span<const Reading> all, ThreadPool* pool) {
  Choice best{0, measure(reference, position_axis, candidate, all[0], pool)};
  for (std::size_t i = 1; i < all.size() && !(best.metrics.relative_l2 <= kFits); ++i) {
    TensorMetrics metrics = measure(reference, position_axis, candidate, all[i], pool);
    // The content must be right to overrule a shape that fits.
    const bool contradicts =
        all[0].order == AxisOrder::kSame && all[i].order == AxisOrder::kReversed;
    if (contradicts && !(metrics.relative_l2 <= kFits)) continue;
    // Scores that are -inf where they are masked: queries and keys are not exchanged.
    if (metrics.unlike > best.metrics.unlike) continue;
    if (apart(metrics) < apart(best.metrics) / 2) best = {i, std::move(metrics)};
  }
  best.fits = best.metrics.relative_l2 <= kFits;
  return best;
}

Choice choose_reading_of(std::string_view tap, std::size_t axis, const ArrayView& reference,
                         const ArrayView& candidate, std::span<const Reading> all,
                         const ModelSpec& model) {
  const std::optional<TapPlace> place = parse_tap_name(tap);
  Choice plain = choose_reading(reference, axis, candidate, all, nullptr);
  const bool has_pairs = place && has_rotary_pairs(place->tap) && model.head_dim > 0;
  if (plain.fits || !has_pairs || reference.dtype != DType::kF32) return plain;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (all[i].last_position) continue;
    Array turned = laid_out(reference.shape, axis, candidate, all[i]);
    if (turned.dtype != DType::kF32) continue;
    apply_form(paired_channels(), model, *place, {}, 0, turned.as<float>());
    TensorMetrics metrics =
        measure(reference, axis, turned.view(), same_layout(turned.shape), nullptr);
    if (metrics.relative_l2 <= kFits) return {i, std::move(metrics), true};
  }
  return plain;
}

std::string about_left_out_keys(std::string_view tap, std::span<const std::int64_t> reference,
                                const ArrayView& candidate, const Reading& reading) {
  const std::optional<TapPlace> place = parse_tap_name(tap);
  if (!reading.all_keys || !place || place->tap != Tap::kAttnProbs) return "";
  // The same layout over all keys.
  const Axis& all = *reading.all_keys;
  Layout whole = reading;
  // A layout has no axis of one element.
  if (reference.back() > 1) whole.axes.pop_back();
  whole.axes.push_back(all);
  whole.offset -= reading.first_key * all.stride;
  Shape shape(reference.begin(), reference.end());
  shape.back() = all.extent;
  const Array probs = laid_out(shape, 2, candidate, whole);
  double most = 0;
  const auto look = [&](auto values) {
    for (std::size_t at = 0; at < values.size(); at += static_cast<std::size_t>(all.extent)) {
      double sum = 0;
      for (std::int64_t k = 0; k < all.extent; ++k) {
        const bool is_kept = k >= reading.first_key && k < reading.first_key + reference.back();
        if (!is_kept)
          sum += std::abs(static_cast<double>(values[at + static_cast<std::size_t>(k)]));
      }
      most = std::isnan(sum) ? sum : std::max(most, sum);
    }
  };
  probs.dtype == DType::kF64 ? look(probs.as<double>()) : look(probs.as<float>());
  if (most == 0) return "";
  return fmt::format("; the omitted keys hold up to {:.2g} of a position's attention", most);
}

Array laid_out(std::span<const std::int64_t> reference, std::size_t position_axis,
               const ArrayView& candidate, const Layout& layout) {
  const Rows rows = rows_of(reference, position_axis);
  Array array{candidate.name, DType::kF32, {reference.begin(), reference.end()}, {}};
  if (layout.last_position) array.shape[position_axis] = 1;
  const std::size_t count = layout.last_position ? rows.lead : rows.count();
  const CandidateRows source(candidate, layout, rows.width);
  const auto copy = [&](auto real, DType dtype) {
    using Real = decltype(real);
    array.dtype = dtype;
    array.bytes.resize(count * rows.width * sizeof(Real));
    for (std::size_t r = 0; r < count; ++r) {
      source.read(r, 0, array.as<Real>().subspan(r * rows.width, rows.width));
    }
  };
  if (candidate.dtype == DType::kF64 || is_integer(candidate.dtype)) {
    copy(double{}, DType::kF64);
  } else {
    copy(float{}, DType::kF32);
  }
  return array;
}

}  // namespace assay
