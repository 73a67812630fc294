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

// The axes with more than one element, and their row-major strides.
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

// True if every candidate axis is within one axis of the reference or covers several whole ones:
// [12, 2] does not nest in [2, 3, 4], although both have 24 elements.
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

struct Refined {
  Axes axes;
  std::vector<std::size_t> of;  // the reference's axis that each belongs to
};

// The common refinement of both lists of axes, with the candidate's strides; none if their elements
// do not line up.
std::optional<Refined> refine(std::span<const std::int64_t> reference, const Axes& candidate) {
  Refined result;
  std::size_t c = 0;
  std::int64_t left = candidate.empty() ? 1 : candidate[0].extent;
  for (std::size_t a = 0; a < reference.size(); ++a) {
    std::int64_t r = reference[a];
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
      result.axes.push_back({step, candidate[c].stride * left});
      result.of.push_back(a);
    }
  }
  if (left != 1 || (!candidate.empty() && c + 1 != candidate.size())) return std::nullopt;
  return result;
}

// The part of a candidate's axis that is a whole axis of the reference.
struct Cut {
  std::int64_t begin = 0;
  std::int64_t extent = 0;
  std::size_t of = 0;  // the reference's axis
  std::string text;
};

// Engines pad to a multiple of a power of two.
bool is_padded(std::int64_t size, std::int64_t real) {
  for (std::int64_t multiple = 8; multiple <= 1024; multiple *= 2) {
    if ((real + multiple - 1) / multiple * multiple == size) return true;
  }
  return false;
}

class Search {
 public:
  Search(std::span<const std::int64_t> reference, std::size_t position_axis,
         std::span<const std::int64_t> candidate, const ReadingHints& hints)
      : reference_(reference),
        position_axis_(position_axis),
        shape_(candidate.begin(), candidate.end()),
        hints_(hints) {}

  // Tries the whole array.
  void whole() {
    each_order([&](const Axes& axes) { in_any_order(axes, {}); });
  }

  // Tries parts of it: it may be larger than the reference along several axes.
  void larger(bool of_positions = true) {
    cut_positions_ = of_positions;
    each_order([&](const Axes& axes) {
      std::vector<std::optional<Cut>> cuts(axes.size());
      cut(axes, 0, cuts);
    });
  }

  std::vector<Reading> take() { return std::move(found_); }

 private:
  bool has_keys() const { return position_axis_ + 2 == reference_.size() && position_axis_ == 2; }

  template <class Action>
  void each_order(const Action& action) {
    reversed_ = false;
    action(real_axes(shape_));
    const Shape other(shape_.rbegin(), shape_.rend());
    reversed_ = true;
    action(real_axes(other));
  }

  // The parts that an axis of `extent` may be cut to.
  std::vector<Cut> cuts_of(std::int64_t extent) const {
    std::vector<Cut> cuts;
    for (std::size_t a = 0; a < reference_.size(); ++a) {
      const std::int64_t size = reference_[a];
      if (extent <= size || size == 0) continue;
      if (a == position_axis_ && !cut_positions_) continue;
      if (a == position_axis_ || (has_keys() && a == 3)) {
        add_position_cuts(cuts, a, extent);
      } else if (size > 1 &&
                 ((hints_.vocabulary && a + 1 == reference_.size()) || is_padded(extent, size))) {
        const bool is_vocabulary = hints_.vocabulary && a + 1 == reference_.size();
        cuts.push_back({0, size, a,
                        fmt::format("{} padded from {} to {} (padding ignored)",
                                    is_vocabulary ? "the vocabulary" : fmt::format("axis {}", a),
                                    size, extent)});
      }
    }
    return cuts;
  }

  void add_position_cuts(std::vector<Cut>& cuts, std::size_t a, std::int64_t extent) const {
    const std::int64_t size = reference_[a];
    const bool of_keys = a != position_axis_;
    const char* what = of_keys ? "keys" : "positions";
    const auto add = [&](std::int64_t begin) {
      const std::int64_t after = extent - begin - size;
      std::string text =
          begin == 0   ? fmt::format("the first {} of {} {}", size, extent, what)
          : after == 0 ? fmt::format("the last {} of {} {}", size, extent, what)
                       : fmt::format("{} {} to {} of {}", what, begin, begin + size - 1, extent);
      cuts.push_back({begin, size, a, std::move(text)});
    };
    const Window& window = of_keys && hints_.keys ? *hints_.keys : hints_.window;
    // A pass has exactly this many positions, but may have more keys.
    if (hints_.keys && !of_keys && extent != window.total) return;
    if (window.total > 0 && extent >= window.total && window.front + size <= extent) {
      add(window.front);
      if (extent == window.total && !hints_.table) return;
    }
    if (!hints_.table && (window.total > size || window.front > 0)) return;
    add(0);
    add(extent - size);
  }

  void cut(const Axes& axes, std::size_t at, std::vector<std::optional<Cut>>& cuts) {
    if (at == axes.size()) {
      if (std::ranges::any_of(cuts, [](const auto& c) { return c.has_value(); })) {
        in_any_order(axes, cuts);
      }
      return;
    }
    cuts[at].reset();
    cut(axes, at + 1, cuts);
    for (Cut& own : cuts_of(axes[at].extent)) {
      const bool taken = std::ranges::any_of(
          cuts.begin(), cuts.begin() + static_cast<std::ptrdiff_t>(at), [&](const auto& other) {
            return other && (other->of == own.of || !fit_together(*other, own));
          });
      if (taken) continue;
      cuts[at] = std::move(own);
      cut(axes, at + 1, cuts);
    }
    cuts[at].reset();
  }

  // Queries and keys begin at the same position, unless hints say otherwise.
  bool fit_together(const Cut& a, const Cut& b) const {
    const bool both = !hints_.keys && has_keys() && a.of >= 2 && b.of >= 2;
    return !both || a.begin == b.begin;
  }

  // cuts: one per axis; empty to keep all axes whole.
  void in_any_order(const Axes& whole, const std::vector<std::optional<Cut>>& cuts) {
    Axes axes;
    std::vector<const Cut*> cut_of;
    std::ptrdiff_t offset = 0;
    std::int64_t elements = 1;
    for (std::size_t a = 0; a < whole.size(); ++a) {
      const Cut* own = a < cuts.size() && cuts[a] ? &*cuts[a] : nullptr;
      Axis axis = whole[a];
      if (own != nullptr) {
        offset += own->begin * axis.stride;
        axis.extent = own->extent;
      }
      elements *= axis.extent;
      if (axis.extent == 1) continue;
      axes.push_back(axis);
      cut_of.push_back(own);
    }
    if (product(reference_) != elements || axes.size() > kMostAxes) return;
    std::vector<std::size_t> order(axes.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    do {
      Axes ordered;
      for (const std::size_t a : order) ordered.push_back(axes[a]);
      std::optional<Refined> refined = refine(reference_, ordered);
      if (!refined || !nests(reference_, ordered)) continue;
      bool right_place = true;
      for (std::size_t a = 0; a < axes.size(); ++a) {
        if (cut_of[a] == nullptr) continue;
        bool there = false;
        for (std::size_t i = 0; i < refined->axes.size(); ++i) {
          there = there ||
                  (refined->of[i] == cut_of[a]->of && refined->axes[i].stride == axes[a].stride &&
                   refined->axes[i].extent == axes[a].extent);
        }
        right_place = right_place && there;
      }
      if (right_place)
        add(std::move(refined->axes), offset, std::ranges::is_sorted(order), whole, cuts);
    } while (std::ranges::next_permutation(order).found);
  }

  // whole: the candidate's axes; `cuts` may keep only a part of each.
  void add(Axes axes, std::ptrdiff_t offset, bool in_order, const Axes& whole,
           const std::vector<std::optional<Cut>>& cuts) {
    // Two orders may have the same strides when heads are joined.
    const bool known = std::ranges::any_of(found_, [&](const Reading& other) {
      return other.offset == offset &&
             std::ranges::equal(other.axes, axes, [](const Axis& x, const Axis& y) {
               return x.extent == y.extent && x.stride == y.stride;
             });
    });
    if (known) return;
    Reading reading;
    reading.axes = std::move(axes);
    reading.offset = offset;
    reading.order = reversed_  ? AxisOrder::kReversed
                    : in_order ? AxisOrder::kSame
                               : AxisOrder::kPermuted;
    std::vector<std::string> texts;
    for (std::size_t a = 0; a < cuts.size(); ++a) {
      if (!cuts[a]) continue;
      texts.push_back(cuts[a]->text);
      // With one token, positions and keys are distinguished only by their axis.
      const bool of_keys = cuts[a]->of == 3 || (reference_.back() == 1 && a + 1 == whole.size());
      if (has_keys() && of_keys) {
        reading.all_keys = whole[a];
        reading.first_key = cuts[a]->begin;
      }
    }
    reading.rank = texts.empty() ? 0 : 1;
    if (reversed_) {
      const Shape other(shape_.rbegin(), shape_.rend());
      reading.rank = 3;
      texts.push_back(fmt::format("the bytes are laid out as {}", shape_text(other)));
    } else if (!in_order) {
      reading.rank = 2;
      texts.push_back(texts.empty() ? fmt::format("axes permuted: {} read as {}",
                                                  shape_text(shape_), shape_text(reference_))
                                    : "axes permuted");
    } else if (texts.empty() && !std::ranges::equal(reference_, shape_)) {
      texts.push_back(fmt::format("{} read as {}", shape_text(shape_), shape_text(reference_)));
    }
    reading.text = fmt::format("{}", fmt::join(texts, ", "));
    const bool has_shape = reading.text.find(shape_text(shape_)) != std::string::npos;
    if (!reading.text.empty() && !has_shape) {
      reading.text = fmt::format("{}: {}", shape_text(shape_), reading.text);
    }
    found_.push_back(std::move(reading));
  }

  std::span<const std::int64_t> reference_;
  std::size_t position_axis_;
  Shape shape_;
  ReadingHints hints_;
  bool reversed_ = false;
  bool cut_positions_ = true;
  std::vector<Reading> found_;
};

// Readings of one decoding step after the other, the prompt's last position first (often heads are
// computed for no other). The reference ends with the prompt, or with the last step.
std::vector<Reading> of_decoding(std::span<const std::int64_t> reference,
                                 std::span<const std::int64_t> candidate,
                                 const ReadingHints& hints) {
  if (reference.size() < 2 || reference[1] < 2) return {};
  const std::int64_t before = hints.decoded;
  const std::int64_t after =
      before > 0 ? 0 : hints.window.total - hints.window.front - reference[1];
  if (before < 1 && after < 1) return {};
  Shape last(reference.begin(), reference.end());
  last[1] = 1;
  ReadingHints steps = hints;
  steps.window = {before, before + 1 + after};
  Search search(last, 1, candidate, steps);
  search.larger();
  std::vector<Reading> result = search.take();
  for (Reading& reading : result) {
    reading.last_position = true;
    reading.text = before > 0 ? fmt::format("{}: the last position; {} before it ignored",
                                            shape_text(candidate), before)
                              : fmt::format("{}: the last position; {} after it ignored",
                                            shape_text(candidate), after);
  }
  std::ranges::stable_sort(result, {}, &Reading::rank);
  return result;
}

}  // namespace

Reading same_layout(std::span<const std::int64_t> shape) {
  Reading reading;
  reading.axes = real_axes(shape);
  return reading;
}

std::vector<Reading> readings(std::span<const std::int64_t> reference, std::size_t position_axis,
                              std::span<const std::int64_t> candidate, const ReadingHints& hints) {
  const auto is_empty = [](std::span<const std::int64_t> shape) {
    return std::ranges::find(shape, 0) != shape.end();
  };
  if (is_empty(reference) || is_empty(candidate)) return {};
  Search search(reference, position_axis, candidate, hints);
  search.whole();
  std::vector<Reading> result = search.take();
  // If the run is longer than the reference's, its last position is a later token's.
  const bool ends_with_it = hints.window.total == 0 || position_axis >= reference.size() ||
                            hints.window.front + reference[position_axis] >= hints.window.total;
  const bool has_positions =
      position_axis < reference.size() && reference[position_axis] > 1 && ends_with_it;
  const auto of_last = [&](bool is_whole) {
    Shape last(reference.begin(), reference.end());
    last[position_axis] = 1;
    Search search_last(last, position_axis, candidate, hints);
    is_whole ? search_last.whole() : search_last.larger(false);
    result = search_last.take();
    for (Reading& reading : result) {
      reading.last_position = true;
      reading.rank = std::max(reading.rank, 1);
      const std::string others = is_whole ? "" : ", " + reading.text;
      reading.text = fmt::format("{}: only the last position{}", shape_text(candidate), others);
    }
  };
  if (result.empty() && has_positions) of_last(true);
  if (result.empty()) {
    Search more(reference, position_axis, candidate, hints);
    more.larger();
    result = more.take();
  }
  if (result.empty() && has_positions) of_last(false);
  if (result.empty() && position_axis == 1) result = of_decoding(reference, candidate, hints);
  std::ranges::stable_sort(result, {}, &Reading::rank);
  return result;
}

bool differs_in_rows(const Shape& candidate, const Shape& reference, std::size_t axis) {
  if (candidate.size() != reference.size() || axis >= reference.size()) return false;
  Shape same = candidate;
  same[axis] = reference[axis];
  return candidate[axis] != reference[axis] && same == reference;
}

std::vector<Reading> readings_of(std::string_view tap, std::span<const std::int64_t> reference,
                                 std::size_t position_axis, std::span<const std::int64_t> candidate,
                                 const ReadingHints& hints) {
  ReadingHints own = hints;
  own.vocabulary = tap == "logits";
  own.table = tap.starts_with("rope_");
  std::vector<Reading> all = readings(reference, position_axis, candidate, own);
  if (all.empty() && tap.starts_with("rope_")) all = half_table_readings(reference, candidate);
  if (hints.reversed) prefer_reversed(all);
  return all;
}

void prefer_reversed(std::vector<Reading>& readings) {
  std::ranges::stable_sort(readings, {}, [](const Reading& r) {
    return r.order == AxisOrder::kSame ? 0 : r.order == AxisOrder::kReversed ? 1 : 2;
  });
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
  reading.rank = 1;
  reading.text = fmt::format("{}: half the width, each value used twice", shape_text(candidate));
  return {reading};
}

}  // namespace assay
