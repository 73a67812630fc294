#include "candidate/reading.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>

namespace assay {
namespace {

using Axes = std::vector<Axis>;

constexpr std::size_t kMostAxes = 5;  // of more than one element; 120 orders

std::int64_t product(std::span<const std::int64_t> shape) {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

// The axes of more than one element; strides of a row-major array.
Axes real_axes(std::span<const std::int64_t> shape) {
  Axes axes;
  std::ptrdiff_t stride = 1;
  for (std::size_t a = shape.size(); a-- > 0;) {
    if (shape[a] != 1) axes.push_back({shape[a], stride});
    stride *= shape[a];
  }
  std::ranges::reverse(axes);
  return axes;
}

// True when every candidate axis lies within one axis of the reference or is several whole ones:
// [12, 2] is no [2, 3, 4] although both have 24 elements.
bool nests(std::span<const std::int64_t> reference, const Axes& candidate) {
  std::vector<std::int64_t> ends = {1};
  for (const std::int64_t r : reference) ends.push_back(ends.back() * r);
  const auto is_end = [&](std::int64_t at) { return std::ranges::find(ends, at) != ends.end(); };
  std::int64_t begin = 1;
  for (const Axis& axis : candidate) {
    const std::int64_t end = begin * axis.extent;
    const bool crosses =
        std::ranges::any_of(ends, [&](std::int64_t at) { return begin < at && at < end; });
    if (crosses && !(is_end(begin) && is_end(end))) return false;
    begin = end;
  }
  return true;
}

// The common refinement of both lists of axes, with the candidate's strides; none when their
// elements do not line up.
std::optional<Axes> refine(std::span<const std::int64_t> reference, const Axes& candidate) {
  Axes result;
  std::size_t c = 0;
  std::int64_t left = candidate.empty() ? 1 : candidate[0].extent;
  for (std::int64_t r : reference) {
    while (r != 1) {
      if (left == 1) {
        if (++c >= candidate.size()) return std::nullopt;
        left = candidate[c].extent;
        continue;
      }
      const std::int64_t step = std::min(r, left);
      if (step == 0 || r % step != 0 || left % step != 0) return std::nullopt;
      left /= step;
      r /= step;
      result.push_back({step, candidate[c].stride * left});
    }
  }
  if (left != 1 || (!candidate.empty() && c + 1 != candidate.size())) return std::nullopt;
  return result;
}

// Engines pad to a multiple of a power of two.
bool is_padded(std::int64_t size, std::int64_t real) {
  if (size <= real) return false;
  for (std::int64_t multiple = 8; multiple <= 1024; multiple *= 2) {
    if ((real + multiple - 1) / multiple * multiple == size) return true;
  }
  return false;
}

// Axes that are the reference's but for padding: at the end of any, or in front of the positions.
std::vector<Reading> padded(std::span<const std::int64_t> reference, std::size_t position_axis,
                            std::span<const std::int64_t> candidate) {
  std::vector<std::int64_t> same_rank(candidate.begin(), candidate.end());
  while (same_rank.size() < reference.size()) same_rank.insert(same_rank.begin(), 1);
  if (same_rank.size() != reference.size()) return {};
  Reading reading;
  reading.strangeness = 1;
  std::ptrdiff_t stride = 1;
  std::ptrdiff_t front = 0;
  std::string what;
  for (std::size_t a = reference.size(); a-- > 0;) {
    if (same_rank[a] != reference[a]) {
      if (!is_padded(same_rank[a], reference[a])) return {};
      what += fmt::format("{}axis {} padded from {} to {}", what.empty() ? "" : ", ", a,
                          reference[a], same_rank[a]);
      if (a == position_axis) front = stride * (same_rank[a] - reference[a]);
    }
    reading.axes.push_back({reference[a], stride});
    stride *= same_rank[a];
  }
  std::ranges::reverse(reading.axes);
  reading.text = what;
  std::vector<Reading> result = {reading};
  if (front != 0) {
    reading.offset = front;
    reading.text = what + " in front";
    result.push_back(std::move(reading));
  }
  return result;
}

// axes: the candidate's of more than one element.
std::vector<Reading> in_any_order(std::span<const std::int64_t> reference, const Axes& axes,
                                  std::span<const std::int64_t> candidate) {
  std::vector<Reading> result;
  std::int64_t elements = 1;
  for (const Axis& axis : axes) elements *= axis.extent;
  if (product(reference) != elements || axes.size() > kMostAxes) return result;
  std::vector<std::size_t> order(axes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  do {
    Axes ordered;
    for (const std::size_t a : order) ordered.push_back(axes[a]);
    std::optional<Axes> refined = refine(reference, ordered);
    if (!refined || !nests(reference, ordered)) continue;
    Reading reading;
    reading.axes = std::move(*refined);
    if (!std::ranges::is_sorted(order)) {
      reading.strangeness = 2;
      reading.text = fmt::format("axes in another order: {} read as {}", shape_text(candidate),
                                 shape_text(reference));
    } else if (!std::ranges::equal(reference, candidate)) {
      reading.text = fmt::format("{} read as {}", shape_text(candidate), shape_text(reference));
    }
    // Two orders may walk the same memory when heads are joined.
    if (std::ranges::none_of(result, [&](const Reading& known) {
          return std::ranges::equal(known.axes, reading.axes, [](const Axis& x, const Axis& y) {
            return x.extent == y.extent && x.stride == y.stride;
          });
        })) {
      result.push_back(std::move(reading));
    }
  } while (std::ranges::next_permutation(order).found);
  return result;
}

// Of a sequence that goes on behind the reference's, as the decode steps after a prompt.
std::vector<Reading> longer(std::span<const std::int64_t> reference, std::size_t position_axis,
                            std::span<const std::int64_t> candidate) {
  std::vector<Reading> result;
  if (position_axis >= reference.size()) return result;
  const std::int64_t positions = reference[position_axis];
  const Axes all = real_axes(candidate);
  for (std::size_t a = 0; a < all.size(); ++a) {
    if (all[a].extent <= positions) continue;
    Axes axes = all;
    axes[a].extent = positions;
    if (positions == 1) axes.erase(axes.begin() + static_cast<std::ptrdiff_t>(a));
    for (Reading& reading : in_any_order(reference, axes, candidate)) {
      reading.strangeness = std::max(reading.strangeness, 1);
      reading.text = fmt::format("{}: the first {} of {} positions", shape_text(candidate),
                                 positions, all[a].extent);
      result.push_back(std::move(reading));
    }
  }
  return result;
}

}  // namespace

Reading same_layout(std::span<const std::int64_t> shape) {
  Reading reading;
  reading.axes = real_axes(shape);
  return reading;
}

std::vector<Reading> readings(std::span<const std::int64_t> reference, std::size_t position_axis,
                              std::span<const std::int64_t> candidate) {
  std::vector<Reading> result = in_any_order(reference, real_axes(candidate), candidate);
  if (result.empty()) result = padded(reference, position_axis, candidate);
  const bool has_positions = position_axis < reference.size() && reference[position_axis] > 1;
  if (result.empty() && has_positions) {
    std::vector<std::int64_t> last(reference.begin(), reference.end());
    last[position_axis] = 1;
    for (Reading& reading : in_any_order(last, real_axes(candidate), candidate)) {
      reading.last_position = true;
      reading.strangeness = std::max(reading.strangeness, 1);
      reading.text = fmt::format("{}: the last position only", shape_text(candidate));
      result.push_back(std::move(reading));
    }
  }
  if (result.empty()) result = longer(reference, position_axis, candidate);
  std::ranges::stable_sort(result, {}, &Reading::strangeness);
  return result;
}

std::vector<Reading> half_table_readings(std::span<const std::int64_t> reference,
                                         std::span<const std::int64_t> candidate) {
  if (reference.size() < 2 || candidate.size() < 2) return {};
  const std::int64_t width = reference.back();
  const std::int64_t half = candidate.back();
  const std::int64_t positions = product(reference) / std::max<std::int64_t>(width, 1);
  if (half < 1 || width != 2 * half || product(candidate) / half < positions) return {};
  Reading reading;
  reading.axes = {{positions, half}, {2, 0}, {half, 1}};
  reading.strangeness = 1;
  reading.text = fmt::format("{}: half the width, each value used twice", shape_text(candidate));
  return {reading};
}

}  // namespace assay
