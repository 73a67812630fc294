// Chooses between several layouts of an array by its content.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "assay/array.h"
#include "assay/metrics.h"
#include "base/thread_pool.h"
#include "candidate/reading.h"
#include "models/spec.h"

namespace assay {

// An array whose relative L2 from the reference is below this is taken to be read correctly; a
// larger one raises doubt.
inline constexpr double kFits = 0.2;

// The reading whose content is nearest to the reference's.
struct Choice {
  std::size_t index = 0;
  TensorMetrics metrics;  // with that reading
  bool fits = false;      // its content is close to the reference's
};

// The first reading, unless its content is far off and another's is not. There must be at least
// one. If the first fits, the others are not measured. pool: null to stay in this thread.
Choice choose_reading(const ArrayView& reference, std::size_t position_axis,
                      const ArrayView& candidate, std::span<const Reading> all, ThreadPool* pool);

// The same for a tap's array, whose rotary pairs may be adjacent (paired_channels()): if it is
// close only in that form, the metrics are those of that form.
Choice choose_reading_of(std::string_view tap, std::size_t position_axis,
                         const ArrayView& reference, const ArrayView& candidate,
                         std::span<const Reading> all, const ModelSpec& model);

// A remark for probabilities whose reading omits keys, if these are attended to; otherwise empty.
std::string about_left_out_keys(std::string_view tap, std::span<const std::int64_t> reference,
                                const ArrayView& candidate, const Reading& reading);

// The candidate's array in the reference's shape and order of elements; if only the last position
// was read, with one position. F64 for integers and F64, else F32.
Array laid_out(std::span<const std::int64_t> reference, std::size_t position_axis,
               const ArrayView& candidate, const Layout& layout);

}  // namespace assay
