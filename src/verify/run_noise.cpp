#include "verify/run_noise.h"

#include "candidate/data_flow.h"
#include "model/executor.h"
#include "model/recorder.h"
#include "numerics/numerics.h"
#include "rewrite/edit.h"
#include "rewrite/ggml_operands.h"
#include "rewrite/held_values.h"
#include "rewrite/rewritten.h"

namespace assay {
namespace {

template <class N>
void run(Executor<N>&& executor, const Model& model, std::span<const std::int64_t> ids,
         const TapSet& taps, const std::function<void(Array)>& take) {
  Recorder<typename N::Real> recorder(model.spec, taps, std::ssize(ids), DType::kF32, take);
  SequenceState<N> sequence(executor.program(), ids.size());
  const Chunk<N> chunk{ids, &sequence, &recorder};
  executor.run({&chunk, 1});
}

}  // namespace

NoiseByTap run_noise(const Model& model, ExpectedType type, std::span<const std::int64_t> ids,
                     const TapSet& taps, const Truth64& truth, ThreadPool& pool) {
  NoiseByTap noise;
  const std::function<void(Array)> measure = [&](const Array& array) {
    const std::optional<TapPlace> place = parse_tap_name(array.name);
    if (!place || array.dtype == DType::kI64) return;
    noise[array.name] =
        array_noise(array.view(), truth(array.name).view, position_axis(place->tap));
  };
  if (type == ExpectedType::kF32) {
    run<F32>({model, pool}, model, ids, taps, measure);
    return noise;
  }
  Program program = model.program;
  if (type == ExpectedType::kF16) store_results(program, Store::kF16);
  if (type == ExpectedType::kQ8) {
    hold(program, q8_operands(model));
  }
  fill_in_tables(program);
  run<F32>({program, RewrittenWeights(program, model), pool}, model, ids, taps, measure);
  return noise;
}

void run_prompt(const Model& model, Numerics numerics, std::span<const std::int64_t> ids,
                const TapSet& taps, const std::function<void(Array)>& take, ThreadPool& pool) {
  with_numerics(numerics, [&]<class N>(N) { run<N>({model, pool}, model, ids, taps, take); });
}

}  // namespace assay
