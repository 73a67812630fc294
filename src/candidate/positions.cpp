#include "candidate/positions.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "assay/error.h"
#include "base/widen.h"
#include "metrics/rows.h"

namespace assay {
namespace {

// Scores and probabilities: [1, N, S, S].
bool has_keys(std::size_t position_axis) { return position_axis == 2; }

std::size_t count_of(std::span<const std::int64_t> shape) {
  return static_cast<std::size_t>(element_count(shape, "an array"));
}

}  // namespace

Array slice_positions(const ArrayView& array, std::size_t position_axis, Positions positions) {
  const Rows rows = rows_of(array.shape, position_axis);
  Array slice{array.name, array.dtype, array.shape, {}};
  slice.shape[position_axis] = positions.count;
  if (has_keys(position_axis)) slice.shape.back() = positions.first + positions.count;
  const Rows kept = rows_of(slice.shape, position_axis);
  const std::size_t item = dtype_size(array.dtype);
  slice.bytes.resize(count_of(slice.shape) * item);
  for (std::size_t r = 0; r < kept.count(); ++r) {
    const std::size_t row =
        r / kept.positions * rows.positions + r % kept.positions + std::size_t(positions.first);
    std::memcpy(&slice.bytes[r * kept.width * item], &array.bytes[row * rows.width * item],
                kept.width * item);
  }
  return slice;
}

Pieces::Pieces(const ArrayView& reference, std::size_t position_axis)
    : whole_{reference.name, DType::kF64, reference.shape, {}},
      axis_(position_axis),
      covered_(rows_of(reference.shape, position_axis).positions) {
  const std::size_t count = count_of(reference.shape);
  whole_.bytes.resize(count * sizeof(double));
  widen(reference.dtype, reference.bytes.data(),
        static_cast<std::ptrdiff_t>(dtype_size(reference.dtype)), whole_.as<double>());
}

void Pieces::put(Positions positions, const ArrayView& piece, const Reading& reading) {
  const Rows rows = rows_of(whole_.shape, axis_);
  const auto first = static_cast<std::size_t>(positions.first);
  const std::size_t count = reading.last_position ? 1 : static_cast<std::size_t>(positions.count);
  const std::size_t skipped = static_cast<std::size_t>(positions.count) - count;
  const std::size_t width =
      has_keys(axis_)
          ? rows.width / rows.positions * (first + static_cast<std::size_t>(positions.count))
          : rows.width;
  const CandidateRows from(piece, reading, width);
  for (std::size_t r = 0; r < rows.lead * count; ++r) {
    const std::size_t position = first + skipped + r % count;
    const std::size_t row = r / count * rows.positions + position;
    from.read(r, 0, whole_.as<double>().subspan(row * rows.width, width));
    covered_[position] = true;
  }
}

bool Pieces::complete() const { return missing().empty(); }

bool Pieces::last_only() const {
  return !covered_.empty() && covered_.back() && missing().size() + 1 == covered_.size();
}

std::vector<std::int64_t> Pieces::missing() const {
  std::vector<std::int64_t> positions;
  for (std::size_t p = 0; p < covered_.size(); ++p) {
    if (!covered_[p]) positions.push_back(static_cast<std::int64_t>(p));
  }
  return positions;
}

ArrayView Pieces::whole() const { return whole_.view(); }

Array join_positions(const std::vector<Array>& pieces, const std::vector<std::int64_t>& counts,
                     std::string_view where) {
  const Array& head = pieces.front();
  if (pieces.size() == 1) return head;
  const auto counts_positions = [&](std::size_t axis) {
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const Array& piece = pieces[i];
      if (piece.shape.size() != head.shape.size() || piece.dtype != head.dtype) return false;
      if (piece.shape[axis] != counts[i]) return false;
      for (std::size_t a = 0; a < head.shape.size(); ++a) {
        if (a != axis && piece.shape[a] != head.shape[a]) return false;
      }
    }
    return true;
  };
  std::size_t axis = 0;
  while (axis < head.shape.size() && !counts_positions(axis)) ++axis;
  if (axis == head.shape.size()) {
    throw input_error(where,
                      fmt::format("pieces {} and {} cannot be joined", shape_text(head.shape),
                                  shape_text(pieces.back().shape)),
                      "pieces of one dtype that differ only in the axis of positions");
  }
  Array joined{head.name, head.dtype, head.shape, {}};
  joined.shape[axis] = 0;
  for (const std::int64_t count : counts) joined.shape[axis] += count;
  const std::size_t lead = rows_of(head.shape, axis).lead;
  for (std::size_t l = 0; l < lead; ++l) {
    for (const Array& piece : pieces) {
      const std::size_t run = piece.bytes.size() / lead;
      const auto from = piece.bytes.begin() + static_cast<std::ptrdiff_t>(l * run);
      joined.bytes.insert(joined.bytes.end(), from, from + static_cast<std::ptrdiff_t>(run));
    }
  }
  return joined;
}

}  // namespace assay
