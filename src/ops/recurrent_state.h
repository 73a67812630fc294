// What a recurrent operation remembers of a sequence: a fixed number of values, whatever its
// length.
#pragma once

#include <algorithm>
#include <cstddef>
#include <stdexcept>

#include "base/aligned_vector.h"

namespace assay {

template <class N>
class RecurrentState {
 public:
  using Real = typename N::Real;

  explicit RecurrentState(std::size_t size) { values_.resize(size); }

  // The values after the sequence's first `position` tokens, to be brought forward over the next
  // `count`. Only the newest are kept, so a sequence cannot go on from earlier, except from its
  // beginning: throws a logic error.
  Real* advance(std::size_t position, std::size_t count) {
    if (position == 0) {
      std::ranges::fill(values_, Real{0});
    } else if (position != position_) {
      throw std::logic_error("a recurrent state of another position");
    }
    position_ = position + count;
    return values_.data();
  }

 private:
  std::size_t position_ = 0;
  AlignedVector<Real> values_;
};

}  // namespace assay
