// Which of several layouts an array has: its content says.
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

// Relative L2 from the reference up to which an array is taken to be read rightly; one further off
// is doubted.
inline constexpr double kFits = 0.2;

// Of the readings the one whose content is the reference's.
struct Choice {
  std::size_t index = 0;
  TensorMetrics metrics;  // under it
  bool fits = false;      // its content is near the reference's
};

// The first reading, unless its content is far off and another's is not. There must be one; only
// the first is measured where it fits. pool: null to stay in this thread.
Choice choose_reading(const ArrayView& reference, std::size_t position_axis,
                      const ArrayView& candidate, std::span<const Reading> all, ThreadPool* pool);

// The same of a tap's array, whose rotary pairs may lie side by side (paired_channels()): where it
// is near to nothing as it stands and near in that form, the metrics are those of that form.
Choice choose_reading_of(std::string_view tap, const ArrayView& reference,
                         const ArrayView& candidate, std::span<const Reading> all,
                         const ModelSpec& model);

// Of probabilities whose reading leaves out keys: what is to be said where these are attended to.
// Empty where they are not.
std::string about_left_out_keys(std::string_view tap, std::span<const std::int64_t> reference,
                                const ArrayView& candidate, const Reading& reading);

// The candidate's array in the reference's shape and order of elements; of a reading of the last
// position alone with one position. F64 of integers and F64, else F32.
Array laid_out(std::span<const std::int64_t> reference, std::size_t position_axis,
               const ArrayView& candidate, const Layout& layout);

}  // namespace assay
