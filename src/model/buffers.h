// Which values of a block share memory: those that are not needed at the same time.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "models/program.h"

namespace assay {

struct BufferPlan {
  // Of each value; none: it is never there as a whole, as what lies over keys.
  std::vector<std::optional<std::size_t>> buffers;
  std::vector<std::size_t> widths;         // of each value: elements of a token
  std::vector<std::size_t> buffer_widths;  // of each buffer: the widest value's
};

// Of the first `steps` steps: what the others write is nowhere. Buffer 0 is the residual stream's,
// which comes in as value 0. A step writes over what it reads where it may and nobody reads that
// later.
BufferPlan plan_buffers(const Block& block, std::size_t steps);

// The step of the head that makes logits, of its rows and columns one part after the other.
std::size_t head_matrix_step(const Block& head);

// The step of a block's attention that writes its context: scores, softmax and context are run as
// one. `scores`: the index of its first step.
std::size_t context_step(const Block& block, std::size_t scores);

}  // namespace assay
