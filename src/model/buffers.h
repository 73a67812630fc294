// Assigns memory to a block's values; those that are not needed at the same time share it.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "models/program.h"

namespace assay {

struct BufferPlan {
  // Per value; none: it is never stored as a whole, as values over keys.
  std::vector<std::optional<std::size_t>> buffers;
  std::vector<std::size_t> widths;         // per value: elements of a token
  std::vector<std::size_t> buffer_widths;  // per buffer: the widest value's
};

// For the first `steps` steps; values that others write get no buffer. Buffer 0 is the residual
// stream's, which enters as value 0. A step overwrites one of its inputs if it may and nothing
// reads that later.
BufferPlan plan_buffers(const Block& block, std::size_t steps);

// The step of the head that makes logits, one part of its rows and columns after the other.
std::size_t head_matrix_step(const Block& head);

// The steps of a block's attention that write its probabilities and its context: scores, softmax
// and context run as one. `scores`: the index of its first step.
std::size_t softmax_step(const Block& block, std::size_t scores);
std::size_t context_step(const Block& block, std::size_t scores);

}  // namespace assay
