// Arrays in pieces: some positions of a sequence, one piece per step of an engine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "assay/array.h"
#include "candidate/reading.h"

namespace assay {

// Positions [first, first + count) of a sequence.
struct Positions {
  std::int64_t first = 0;
  std::int64_t count = 0;
};

// These positions of an array of shape [..., S, ...] with S on position_axis; of scores and
// probabilities ([1, N, S, S], position axis 2) only the keys that they see.
Array slice_positions(const ArrayView& array, std::size_t position_axis, Positions positions);

// Joins pieces of one array in the reference's layout.
class Pieces {
 public:
  // Elements that no piece has (keys after a position) are the reference's own.
  Pieces(const ArrayView& reference, std::size_t position_axis);

  // reading: of the piece, compared with the slice of these positions.
  void put(Positions positions, const ArrayView& piece, const Reading& reading);

  bool complete() const;
  // Whether only the last position was put.
  bool last_only() const;
  std::vector<std::int64_t> missing() const;  // positions
  ArrayView whole() const;                    // F64

 private:
  Array whole_;
  std::size_t axis_;
  std::vector<bool> covered_;
};

// Joins pieces of consecutive positions along the first axis that counts them: the one whose
// extents are `counts` while all others agree. Throws an input error that names `where` if there is
// none, or the dtypes differ.
Array join_positions(const std::vector<Array>& pieces, const std::vector<std::int64_t>& counts,
                     std::string_view where);

}  // namespace assay
