// The forward pass of all models: runs the steps of a program, one after the other, on the current
// tokens.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/aligned_vector.h"
#include "base/thread_pool.h"
#include "model/buffers.h"
#include "model/model.h"
#include "model/sequence_state.h"
#include "numerics/kernels.h"
#include "numerics/rope_table.h"
#include "ops/cpu/ops.h"

namespace assay {

// One sequence's part of a pass: a whole prompt, a piece of one, or one decoded token.
template <class N>
struct Chunk {
  std::span<const std::int64_t> ids;     // the new tokens, at least one
  SequenceState<N>* sequence = nullptr;  // holds all tokens before them
  Observer<typename N::Real>* observer = nullptr;
};

// Results are bit-identical however tokens are grouped into chunks, chunks into passes, and work
// into threads. Not thread-safe; it owns its buffers.
template <class N>
class Executor {
 public:
  using Real = typename N::Real;

  // All arguments must outlive it.
  Executor(const Model& model, ThreadPool& pool,
           const Kernels<N>& with = kernels<N>(chosen_simd()));

  // Another program, with weights that replace the model's. read(l): the weights of layer l's
  // steps, or with kEmbedding and kHead of those outside. Valid until the next call.
  static constexpr std::int64_t kEmbedding = -1, kHead = -2;
  using ReadWeights = std::function<const BlockWeights&(std::int64_t)>;
  Executor(const Program& program, ReadWeights read, ThreadPool& pool,
           const Kernels<N>& with = kernels<N>(chosen_simd()));

  // Runs the chunks' tokens through the model, appends them to their sequences, and returns the
  // logits of each chunk's last token: [chunks, vocab], valid until the next call. Ids must be in
  // [0, vocab) and the sequences must have enough capacity.
  std::span<const Real> run(std::span<const Chunk<N>> chunks);

  // The same step by step: start() looks up the tokens, layer() runs one of the layers on the
  // residual stream, head() returns the logits. The sequences do not advance. A layer must run
  // after the ones from which it imports values.
  void start(std::span<const Chunk<N>> chunks);
  void layer(std::int64_t l);
  std::span<const Real> head();
  // The residual stream, [tokens, hidden]: the input of the next of them.
  std::span<Real> stream();

  const Program& program() const { return program_; }

  // Called after each layer of each run, for a progress bar.
  void on_layer(std::function<void()> callback) { on_layer_ = std::move(callback); }

 private:
  // A block being run.
  struct Run {
    const Block& block;
    const BlockWeights& weights;
    const BufferPlan& plan;
    std::int64_t layer;  // 0 outside the layers
    std::size_t step = 0;
  };
  // cos and sin of the current tokens, [tokens, dims / 2], rounded as the numerics says.
  struct Rotation {
    Rotate of;
    RopeRows<Real> rows;
    bool current = false;
    std::vector<Real> cos, sin;
  };

  void run_block(const Block& block, std::int64_t which);
  void run_steps(Run& run, std::size_t first, std::size_t last);
  std::span<Real> value(const Run& run, ValueId v);
  std::span<Real> read(const Run& run, std::size_t i);
  std::span<Real> written(const Run& run, std::size_t i);
  void show(const Run& run, ValueId v);
  void keep(const Run& run, ValueId v);
  std::vector<RecurrentState<N>*> recurrent_states(const Run& run);
  const BufferPlan& plan_of(const Block& block, std::int64_t which);
  const Rotation& rotation_of(const Rotate& rotate);
  void compute(Rotation& rotation);
  void logits_tail(Run& run, std::size_t first, std::size_t first_column, std::size_t columns,
                   std::span<Real> logits);

  void operate(Run& run, const Lookup& lookup);
  void operate(Run& run, const RmsNorm& norm);
  void operate(Run& run, const Linear& linear);
  void operate(Run& run, const Rotate& rotate);
  void operate(Run& run, const ScaleByPosition& scale);
  void operate(Run& run, const Scores& scores);
  void operate(Run&, const Softmax&) {}  // runs together with the scores
  void operate(Run&, const Context&) {}
  void operate(Run& run, const Add& add);
  void operate(Run& run, const Multiply& multiply);
  void operate(Run& run, const Gate& gate);
  void operate(Run& run, const SigmoidGate& gate);
  void operate(Run& run, const Unpack& unpack);
  void operate(Run& run, const Sigmoid& sigmoid);
  void operate(Run& run, const CausalConv& conv);
  void operate(Run& run, const Decay& decay);
  void operate(Run& run, const DeltaRule& rule);
  void operate(Run& run, const GatedNorm& norm);
  void operate(Run& run, const RouterScores& scores);
  void operate(Run& run, const CorrectScores& correct);
  void operate(Run& run, const TopExperts& top);
  void operate(Run& run, const ExpertWeights& weights);
  void operate(Run& run, const ExpertLinear& linear);
  void operate(Run& run, const SumExperts& sum);
  void operate(Run& run, const Softcap& softcap);
  void operate(Run& run, const Foreign& foreign);

  const Program& program_;
  ReadWeights read_;
  Ops<N> ops_;
  std::function<void()> on_layer_;
  std::vector<std::optional<BufferPlan>> plans_;  // embedding, layers, head
  std::vector<AlignedVector<Real>> buffers_;      // the first is the residual stream
  // Values that later blocks import.
  struct Kept {
    TapPlace from;
    std::size_t width;
    AlignedVector<Real> values = {};
  };
  Kept* kept(const TapPlace& from);
  std::vector<Kept> kept_;
  std::vector<Rotation> rotations_;
  AlignedVector<Real> logits_;

  // The current pass.
  std::span<const Chunk<N>> chunks_;
  std::vector<Stretch<N>> stretches_;
  std::vector<std::int64_t> ids_;  // of all its tokens
};

}  // namespace assay
