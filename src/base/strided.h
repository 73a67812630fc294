// A tensor in memory as a caller in C or Python describes it.
#pragma once

#include <cstdint>

#include "assay/array.h"

namespace assay {

// Row-major elements: in place where they lie so, else gathered. Throws usage errors for a dtype
// that is none, ranks beyond 16, extents below 0, sizes that no memory has, and NULL pointers where
// there are elements.
class Strided {
 public:
  Strided(const char* name, const void* data, int dtype, int rank, const std::int64_t* shape,
          const std::int64_t* strides);
  const ArrayView& view() const { return view_; }

 private:
  ArrayView view_;
  std::vector<std::byte> gathered_;
};

}  // namespace assay
