// An array as rows, and another program's array walked in the same order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "assay/array.h"

namespace assay {

// One axis of the walk, in the reference's order; the last is the innermost.
struct Axis {
  std::int64_t extent = 0;
  std::ptrdiff_t stride = 0;  // candidate elements
};

// Where the reference's elements are in a candidate's memory.
struct Layout {
  std::vector<Axis> axes;
  std::ptrdiff_t offset = 0;   // candidate elements
  bool last_position = false;  // the candidate has only the reference's last position
};

// An array as rows: all axes after the position axis are a row's width, its channels.
struct Rows {
  std::size_t lead = 1;  // product of the axes before the position axis
  std::size_t positions = 1;
  std::size_t width = 1;
  std::size_t count() const { return lead * positions; }
};
Rows rows_of(std::span<const std::int64_t> shape, std::size_t position_axis);

// The candidate's rows in the reference's order, according to the layout.
class CandidateRows {
 public:
  CandidateRows(const ArrayView& candidate, const Layout& layout, std::size_t width);
  // Elements [begin, begin + out.size()) of row r.
  template <class Real>
  void read(std::size_t r, std::size_t begin, std::span<Real> out) const;
  bool mapped() const { return view_.mapped; }
  // The address of row r if its elements are consecutive; otherwise null.
  const std::byte* in_place(std::size_t r) const;

 private:
  ArrayView view_;
  std::ptrdiff_t offset_;
  std::vector<Axis> outer_;  // axes over rows
  std::vector<Axis> inner_;  // axes within a row
  bool consecutive_ = false;
};

// An element's index in an array of this shape, from its number in row-major order.
std::vector<std::int64_t> index_in(std::span<const std::int64_t> shape, std::size_t flat);

}  // namespace assay
