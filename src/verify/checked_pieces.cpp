// The part of CheckedPrompt that takes a tap in pieces, some positions at a time.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "candidate/dump_forms.h"
#include "metrics/metrics.h"
#include "verify/checked_prompt.h"
#include "verify/compare_arrays.h"

namespace assay {

CheckedPrompt::OpenTap& CheckedPrompt::open(const TensorResult& tensor, std::size_t axis) {
  const auto known = open_taps_.find(tensor.name);
  if (known != open_taps_.end()) return known->second;
  LoadedArray own = reference_.load(tensor.name);
  LoadedArray exact = files_.exact(tensor.name);
  Pieces pieces(own.view, axis);
  OpenTap tap{std::move(own), std::move(exact), 0, std::move(pieces), {}};
  if (!tap.oracle.view.shape.empty()) {
    const TensorMetrics noise = measure(tap.oracle.view, axis, tap.reference.view,
                                        same_layout(tap.reference.view.shape), nullptr);
    files_.expect_own_oracle(tensor.name, noise, true);
    tap.least_noise = largest(noise.position_error);
  }
  return open_taps_.emplace(tensor.name, std::move(tap)).first->second;
}

bool CheckedPrompt::takes_piece(const TensorResult& tensor, const ArrayView& piece,
                                Positions positions) {
  const NameKind kind = kind_of_name(piece.name);
  const auto [known, is_new] = piece_kinds_.emplace(tensor.name, kind);
  if (is_new || known->second == kind) return true;
  if (std::isinf(distance_from(tensor.name, piece, positions))) return false;  // the token, perhaps
  results_.insert(tensor.name);
  if (kind < known->second) return false;
  known->second = kind;
  open_taps_.erase(tensor.name);
  return true;
}

// Whether an array of that name may have been taken before a scale or a cap of this model.
bool CheckedPrompt::may_be_before(const std::string& tap, std::string_view name) const {
  const std::optional<TapPlace> place = parse_tap_name(tap);
  if (!place || results_.contains(tap) || kind_of_name(name) == NameKind::kValue) return false;
  return std::ranges::any_of(forms_of(*place, model_), [](const DumpForm& form) {
    return !form.holds && !form.pairs && !form.lacks_weight;
  });
}

TensorResult CheckedPrompt::compare_piece(TensorResult& tensor, const HeldPositions& held,
                                          const ArrayView& candidate) {
  const Positions positions = held.prompt;
  const std::size_t axis = axis_of(tensor.name);
  OpenTap& tap = open(tensor, axis);
  const Array own = slice_positions(tap.reference.view, axis, positions);
  const bool has_oracle = !tap.oracle.view.shape.empty();
  const Array exact = has_oracle ? slice_positions(tap.oracle.view, axis, positions) : Array();
  TensorResult piece;
  piece.name = tensor.name;
  piece.layer = tensor.layer;
  piece.block = tensor.block;
  piece.module = tensor.module;
  piece.candidate_name = candidate.name;
  const Ordered ordered =
      compare_ordered(piece, own.view(), exact.view(), candidate, &held, tap.least_noise, false);
  if (piece.verdict != Verdict::kPass) {
    piece.reason = fmt::format(
        "position {}: {}",
        positions.count == 1
            ? std::to_string(positions.first)
            : fmt::format("{} to {}", positions.first, positions.first + positions.count - 1),
        piece.reason);
  }
  const bool is_early =
      piece.verdict == Verdict::kFail && may_be_before(tensor.name, candidate.name);
  if (is_early) {
    piece.verdict = Verdict::kNotCompared;
    piece.reason += "; taken a step before the tap? The whole run will tell";
  }
  const bool is_worse = tap.worst.verdict == Verdict::kPass ||
                        (tap.worst.verdict == Verdict::kNotCompared &&
                         (piece.verdict == Verdict::kFail || piece.verdict == Verdict::kError));
  if (tap.worst.name.empty() || is_worse) tap.worst = piece;
  if (ordered.reading) {
    tap.pieces.put(positions, ordered.moved ? ordered.moved->view() : candidate, *ordered.reading);
  }
  if (tap.pieces.complete()) {
    // One bad position is enough, even if the whole array's error hides it.
    if (tap.worst.verdict != Verdict::kError) compare_whole(tensor, tap.pieces.whole(), true);
    const bool is_judged =
        tap.worst.verdict == Verdict::kPass || may_be_before(tensor.name, candidate.name);
    if (tensor.verdict != Verdict::kFail && !is_judged) tensor = tap.worst;
    open_taps_.erase(tensor.name);
  }
  return piece;
}

}  // namespace assay
