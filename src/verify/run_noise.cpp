#include "verify/run_noise.h"

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>

#include "candidate/data_flow.h"
#include "model/forward.h"
#include "model/ggml_operands.h"
#include "model/held_values.h"

namespace assay {
namespace {

// Rounds what matmuls read, and takes down scores and probabilities, which a recorder does not see
// where attention is computed in full.
class Watching : public Holding<float> {
 public:
  // take: called with each array once it is complete, one at a time.
  Watching(const ModelSpec& spec, std::span<const HeldValues> held, const TapSet& taps,
           const std::function<void(Array)>& take)
      : Holding(spec, held, [](float x) { return x; }), spec_(spec), taps_(taps), take_(take) {}

  void rows(Tap, std::int64_t, std::size_t, std::size_t, float*) override {}
  void attention(Tap tap, std::int64_t layer, std::size_t head, std::size_t queries,
                 std::size_t keys, float* values) override {
    if (!taps_.wants(tap, layer)) return;
    const std::lock_guard lock(mutex_);
    Open& open = open_[{tap, layer}];
    Array& array = open.array;
    if (array.bytes.empty()) {
      array.name = tap_name(tap, layer, spec_);
      array.shape = {1, spec_.num_attention_heads, static_cast<std::int64_t>(queries),
                     static_cast<std::int64_t>(keys)};
      array.bytes.resize(static_cast<std::size_t>(spec_.num_attention_heads) * queries * keys *
                         sizeof(float));
    }
    std::copy_n(values, queries * keys, &array.as<float>()[head * queries * keys]);
    if (++open.heads < spec_.num_attention_heads) return;
    take_(std::move(array));
    open_.erase({tap, layer});
  }
  void logits(std::size_t, std::size_t, std::size_t, const float*) override {}
  void stream_into(std::int64_t, float*) override {}

 private:
  struct Open {
    Array array = {};
    std::int64_t heads = 0;
  };
  const ModelSpec& spec_;
  const TapSet& taps_;
  const std::function<void(Array)>& take_;
  std::mutex mutex_;  // heads come from several threads
  std::map<std::pair<Tap, std::int64_t>, Open> open_;
};

template <class N>
void run(const Model& model, const ModelSpec& spec, std::span<const std::int64_t> ids,
         const TapSet& taps, const std::function<void(Array)>& take, ThreadPool& pool,
         Exchange<typename N::Real>* exchange = nullptr,
         const Kernels<N>& with = kernels<N>(chosen_simd())) {
  Recorder recorder(spec, taps, std::ssize(ids), DType::kF32, take);
  ForwardPass<N> forward(model, spec, pool, with);
  KvCache<N> cache(spec, ids.size());
  const Chunk<N> chunk{ids, &cache, &recorder, exchange};
  forward.run({&chunk, 1});
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
  ModelSpec spec = model.spec;
  if (type == ExpectedType::kF16) spec.store = Store::kF16;
  std::vector<HeldValues> held;
  if (type == ExpectedType::kQ8) held = q8_operands(model.directory, spec.num_hidden_layers);
  Watching watching(spec, held, taps, measure);
  run<F32>(model, spec, ids, taps, measure, pool, type == ExpectedType::kF32 ? nullptr : &watching);
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
