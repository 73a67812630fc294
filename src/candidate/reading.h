// How a candidate's layout is read: the reference's axes, found in the candidate's memory.
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

// How the bytes lie to the shape that goes with them.
enum class AxisOrder : std::uint8_t {
  kSame,      // as the shape says, in the reference's order
  kPermuted,  // as the shape says, in another order
  kReversed,  // the other way round: ggml counts dimensions from the innermost one
};

struct Reading : Layout {
  std::string text;     // how it differs from the reference's own layout; empty when it does not
  int strangeness = 0;  // 0 same order of elements, 1 padding or last position, 2 other order, 3 a
                        // shape the other way round
  AxisOrder order = AxisOrder::kSame;
  // Where keys of scores or probabilities are left out: all that there are, in the candidate.
  std::optional<Axis> all_keys = {};
  std::int64_t first_key = 0;  // of them, the first that is not left out
};

// Where a candidate's run has the reference's positions, as its ids say: [front, front + S) of
// `total`. total 0: nobody says.
struct Window {
  std::int64_t front = 0;
  std::int64_t total = 0;
};

// What is known beside the shapes.
struct ReadingHints {
  Window window = {};
  std::optional<Window> keys = {};  // of scores and probabilities, where keys begin elsewhere
  bool table = false;       // of rotary angles: may begin with position 0 where the run has padding
  bool vocabulary = false;  // the last axis counts tokens: padded to any size
  std::int64_t decoded = 0;  // the reference's last positions, which were computed one by one
  bool reversed = false;     // the dump is known to write shapes the other way round
};

// The reading of a row-major array of the reference's own shape.
Reading same_layout(std::span<const std::int64_t> shape);

// Every reading under which `candidate` has the reference's elements, least strange first. Axes of
// size 1 do not count; heads may be split or joined; axes may be in another order, or the shape be
// written the other way round; axes may be padded; of the positions only the last may be there, or
// more in front or behind. position_axis: of the reference.
std::vector<Reading> readings(std::span<const std::int64_t> reference, std::size_t position_axis,
                              std::span<const std::int64_t> candidate,
                              const ReadingHints& hints = {});

// Of what a tap's array (or rope_cos and the like) may be, with what its name says.
std::vector<Reading> readings_of(std::string_view tap, std::span<const std::int64_t> reference,
                                 std::size_t position_axis, std::span<const std::int64_t> candidate,
                                 const ReadingHints& hints);

// Puts readings of a shape that is written the other way round before those in another order.
void prefer_reversed(std::vector<Reading>& readings);

// Of rotary tables: the reference's rows [.., P, D] hold each angle's value twice, many engines'
// once: [P, D / 2], for these positions or more.
std::vector<Reading> half_table_readings(std::span<const std::int64_t> reference,
                                         std::span<const std::int64_t> candidate);

}  // namespace assay
