// A program that was made of a model's own, with the weights that its steps read.
#pragma once

#include <cstdint>

#include "model/model.h"

namespace assay {

// Of a rewritten block's steps, from those of the block that it was made of: by the tensors' names.
BlockWeights weights_of(const Block& rewritten, const Block& own, const BlockWeights& weights);

// Weights of a program whose blocks were made of the model's own. Valid as long as model and
// program are.
class RewrittenWeights {
 public:
  RewrittenWeights(const Program& program, const Model& model) : program_(program), model_(model) {}

  // As Executor::ReadWeights.
  const BlockWeights& operator()(std::int64_t which);

 private:
  const Program& program_;
  const Model& model_;
  BlockWeights current_;
};

}  // namespace assay
