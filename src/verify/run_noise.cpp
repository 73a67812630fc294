#include "verify/run_noise.h"

#include "candidate/data_flow.h"
#include "model/forward.h"
#include "model/ggml_operands.h"
#include "model/held_values.h"

namespace assay {
namespace {

// Rounds what matmuls read, and looks at nothing.
class Quantised : public Holding<float> {
 public:
  using Holding::Holding;
  void rows(Tap, std::int64_t, std::size_t, std::size_t, float*) override {}
  void attention(Tap, std::int64_t, std::size_t, std::size_t, std::size_t, float*) override {}
  void logits(std::size_t, std::size_t, std::size_t, const float*) override {}
  void stream_into(std::int64_t, float*) override {}
};

template <class N>
void run(const Model& model, const ModelSpec& spec, std::span<const std::int64_t> ids,
         const TapSet& taps, const std::function<void(Array)>& take, ThreadPool& pool,
         Exchange<typename N::Real>* exchange = nullptr) {
  Recorder recorder(spec, taps, std::ssize(ids), DType::kF32, take);
  ForwardPass<N> forward(model, spec, pool);
  KvCache<N> cache(spec, ids.size());
  const Chunk<N> chunk{ids, &cache, &recorder, exchange};
  forward.run({&chunk, 1});
}

}  // namespace

NoiseByTap run_noise(const Model& model, ExpectedType type, std::span<const std::int64_t> ids,
                     const TapSet& taps, const Truth64& truth, ThreadPool& pool) {
  NoiseByTap noise;
  const auto measure = [&](const Array& array) {
    const std::optional<TapPlace> place = parse_tap_name(array.name);
    if (!place || array.dtype == DType::kI64) return;
    noise[array.name] =
        array_noise(array.view(), truth(array.name).view, position_axis(place->tap));
  };
  ModelSpec spec = model.spec;
  if (type == ExpectedType::kF16) spec.store = Store::kF16;
  std::vector<HeldValues> held;
  if (type == ExpectedType::kQ8) held = q8_operands(model.directory, spec.num_hidden_layers);
  Quantised quantised(spec, held, [](float x) { return x; });
  run<F32>(model, spec, ids, taps, measure, pool, held.empty() ? nullptr : &quantised);
  return noise;
}

void run_prompt(const Model& model, std::string_view numerics, std::span<const std::int64_t> ids,
                const TapSet& taps, const std::function<void(Array)>& take, ThreadPool& pool) {
  if (numerics == F64::kName) {
    run<F64>(model, model.spec, ids, taps, take, pool);
  } else if (numerics == F32::kName) {
    run<F32>(model, model.spec, ids, taps, take, pool);
  } else {
    run<Bf16>(model, model.spec, ids, taps, take, pool);
  }
}

}  // namespace assay
