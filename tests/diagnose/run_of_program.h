// The arrays of an engine that runs another program than the model's.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "model/executor.h"
#include "model/recorder.h"
#include "rewrite/edit.h"
#include "rewrite/rewritten.h"

namespace assay {

template <class N>
std::vector<Array> run_of_program(const Model& model, Program program,
                                  const std::vector<std::int64_t>& ids, ThreadPool& pool) {
  TapSet taps(model.spec);
  taps.add("*");
  fill_in_tables(program);
  Recorder<typename N::Real> recorder(model.spec, taps, std::ssize(ids));
  Executor<N> executor(program, RewrittenWeights(program, model), pool);
  SequenceState<N> sequence(program, ids.size());
  const Chunk<N> chunk{ids, &sequence, &recorder};
  executor.run({&chunk, 1});
  return recorder.take();
}

}  // namespace assay
