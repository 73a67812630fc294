// All metrics of one tensor, in one pass over both arrays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "assay/array.h"
#include "assay/compare.h"
#include "base/thread_pool.h"
#include "verify/reading.h"

namespace assay {

// One array as rows: everything behind the position axis is a row's width, its channels.
struct Rows {
  std::size_t lead = 1;  // product of the axes before the position axis
  std::size_t positions = 1;
  std::size_t width = 1;
  std::size_t count() const { return lead * positions; }
};
Rows rows_of(std::span<const std::int64_t> shape, std::size_t position_axis);

// The candidate's rows in the reference's order, as the reading finds them.
class CandidateRows {
 public:
  CandidateRows(const ArrayView& candidate, const Reading& reading, std::size_t width);
  // Elements [begin, begin + out.size()) of row r.
  template <class Real>
  void read(std::size_t r, std::size_t begin, std::span<Real> out) const;
  bool mapped() const { return view_.mapped; }
  // Where row r lies, when its elements are consecutive; else null.
  const std::byte* in_place(std::size_t r) const;

 private:
  ArrayView view_;
  std::ptrdiff_t offset_;
  std::vector<Axis> outer_;  // axes over rows
  std::vector<Axis> inner_;  // axes within a row
  bool consecutive_ = false;
};

// position_axis: of the reference's shape. pool: null to stay in this thread. The result does not
// depend on the pool.
TensorMetrics measure(const ArrayView& reference, std::size_t position_axis,
                      const ArrayView& candidate, const Reading& reading, ThreadPool* pool);

// An element's place in an array of that shape, by its number in row-major order.
std::vector<std::int64_t> index_in(std::span<const std::int64_t> shape, std::size_t flat);

// Of errors, none below 0; 0 of none.
double root_mean_square(std::span<const double> errors);
double largest(std::span<const double> errors);

}  // namespace assay
