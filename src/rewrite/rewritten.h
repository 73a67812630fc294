// A program made from a model's own, with the weights that its steps read.
#pragma once

#include <cstdint>

#include "model/model.h"

namespace assay {

// The weights of a rewritten block's steps, found by the tensors' names in the original block.
BlockWeights weights_of(const Block& rewritten, const Block& own, const BlockWeights& weights);

// Weights of a program whose blocks were made from the model's own. Valid as long as model and
// program are.
class RewrittenWeights {
 public:
  RewrittenWeights(const Program& program, const Model& model) : program_(program), model_(model) {}

  // See Executor::ReadWeights.
  const BlockWeights& operator()(std::int64_t which);

 private:
  const Program& program_;
  const Model& model_;
  BlockWeights current_;
};

}  // namespace assay
