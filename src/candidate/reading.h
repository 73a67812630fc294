// How a candidate's layout is read: finds the reference's axes in the candidate's memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "assay/array.h"
#include "metrics/rows.h"

namespace assay {

// How an array's memory is ordered, given its shape.
enum class AxisOrder : std::uint8_t {
  kSame,      // as the shape says, in the reference's order
  kPermuted,  // as the shape says, with permuted axes
  kReversed,  // the shape has the innermost dimension first, as in ggml
};

struct Reading : Layout {
  std::string text;  // how it differs from the reference's own layout; empty if it does not
  int rank = 0;      // 0 same order of elements, 1 padding or last position, 2 permuted axes,
                     // 3 reversed shape
  AxisOrder order = AxisOrder::kSame;
  // If keys of scores or probabilities are omitted: all keys in the candidate.
  std::optional<Axis> all_keys = {};
  std::int64_t first_key = 0;  // the first of all_keys that is not omitted
};

// Where a candidate's run has the reference's positions, according to its ids: [front, front + S)
// of `total`. total 0: unknown.
struct Window {
  std::int64_t front = 0;
  std::int64_t total = 0;
};

// What is known in addition to the shapes.
struct ReadingHints {
  Window window = {};
  std::optional<Window> keys = {};  // of scores and probabilities, if keys begin elsewhere
  bool table = false;  // of rotary angles: may begin with position 0 although the run has padding
  bool vocabulary = false;   // the last axis counts the vocabulary: padded to any size
  std::int64_t decoded = 0;  // the reference's last positions that were computed one by one
  bool reversed = false;     // the dump is known to reverse its shapes
};

// The reading of a row-major array with the reference's shape.
Reading same_layout(std::span<const std::int64_t> shape);

// Every reading in which `candidate` has the reference's elements, lowest rank first. Axes of size
// 1 do not count; heads may be split or joined; axes may be permuted, or the shape reversed; axes
// may be padded; of the positions there may be only the last, or more before or after.
// position_axis: of the reference.
std::vector<Reading> readings(std::span<const std::int64_t> reference, std::size_t position_axis,
                              std::span<const std::int64_t> candidate,
                              const ReadingHints& hints = {});

// The same for a tap's array (or rope_cos and the like), given what its name tells.
std::vector<Reading> readings_of(std::string_view tap, std::span<const std::int64_t> reference,
                                 std::size_t position_axis, std::span<const std::int64_t> candidate,
                                 const ReadingHints& hints);

// Whether the shapes differ along that axis of the reference's and no other.
bool differs_in_rows(const Shape& candidate, const Shape& reference, std::size_t axis);

// Moves readings of a reversed shape before those with permuted axes.
void prefer_reversed(std::vector<Reading>& readings);

// For rotary tables: the reference's rows [.., P, D] have each angle's value twice, many engines'
// once: [P, D / 2], for these positions or more.
std::vector<Reading> half_table_readings(std::span<const std::int64_t> reference,
                                         std::span<const std::int64_t> candidate);

}  // namespace assay
