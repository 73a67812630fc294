// A hypothesis as a runnable program, with the weights that its steps read.
#pragma once

#include <cstdint>
#include <vector>

#include "diagnose/hypothesis.h"
#include "diagnose/weight_change.h"
#include "model/model.h"

namespace assay {

class CarriedOut {
 public:
  // model must outlive it. store: replaces the hypothesis's own. prompt: the tokens before the
  // decoded ones.
  CarriedOut(const Model& model, const Hypothesis& hypothesis, Store store, std::int64_t prompt);
  CarriedOut(const CarriedOut&) = delete;
  CarriedOut& operator=(const CarriedOut&) = delete;

  // Runs attention in full, so that an observer also sees what the mask hides.
  const Program& program() const { return program_; }
  // See Executor::ReadWeights.
  const BlockWeights& weights(std::int64_t which);

 private:
  Weight weight(const TensorUse& tensor) const;

  const Model& model_;
  Program program_;
  LayerOrder order_;
  ChangedWeights layers_;
  BlockWeights embedding_, head_, layer_;
  std::vector<std::byte> embedding_memory_, rows_memory_, head_memory_, norm_memory_;
};

}  // namespace assay
