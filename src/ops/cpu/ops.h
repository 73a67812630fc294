// The operations of a program on whole tensors: chooses kernels, splits the work, and distributes
// it.
//
// Results are bit-identical whatever the number of threads and the grouping of tokens.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "base/aligned_vector.h"
#include "base/thread_pool.h"
#include "models/program.h"
#include "numerics/kernels.h"
#include "ops/kv_cache.h"
#include "ops/observer.h"
#include "ops/recurrent_state.h"
#include "ops/weight_stream.h"

namespace assay {

// Multiply-adds that justify waking another thread.
constexpr std::size_t kGrain = 32768;

// New positions of one sequence that a step computes: consecutive tokens of its tensors.
template <class N>
struct Stretch {
  std::size_t position = 0;  // of its first token in the sequence
  std::size_t count = 0;
  Observer<typename N::Real>* observer = nullptr;
};

// Tensors are row-major, [tokens, width]; a tensor of heads is [tokens, heads, head_dim]. Not
// thread-safe: it owns its buffers.
template <class N>
class Ops {
 public:
  using Real = typename N::Real;

  // pool, with and stream must outlive it. stream: provides the matrices, in the order of their
  // use; null: they are in memory.
  Ops(ThreadPool& pool, const Kernels<N>& with, WeightStream* stream = nullptr)
      : pool_(pool), kernels_(with), stream_(stream) {}

  ThreadPool& pool() { return pool_; }
  const Kernels<N>& kernels() const { return kernels_; }
  WeightStream* stream() const { return stream_; }

  // Looks up rows of the table, or equal parts of them, times the rounded scale.
  void lookup(const Lookup& lookup, const Weight& table, std::span<const std::int64_t> ids,
              std::span<Real> out);

  // w: null for a norm without a weight. May work in place.
  void rms_norm(const RmsNorm& norm, std::span<const Real> x, const Weight* w, std::span<Real> out);

  // One of several matrices that read the same input.
  struct Projection {
    Weight w;
    Weight bias;          // no data: none
    Real* out = nullptr;  // token t and row r are at out[t * ldo + r]
    std::size_t ldo = 0;
    std::size_t first_row = 0;  // w is a block of rows, beginning with this one
  };
  // out = x w^T + bias of each, for as many rows as x has.
  void linear(const Linear& linear, std::span<const Real> x,
              std::span<const Projection> projections);
  // The same in two parts: rows of x are laid out once, and all matrices with that many columns
  // read them.
  void lay_out(std::span<const Real> x, std::size_t cols);
  void project(std::span<const Real> x, std::span<const Projection> projections);
  // Calls body(block, row) for blocks of the matrix's rows, with the block's first row: a single
  // block unless weights are streamed.
  template <class Body>
  void for_each_block(const Weight& w, const Body& body);

  // Rotates each head in place; cos and sin: [tokens, dims / 2].
  void rotate(const Rotate& rotate, std::span<const Real> cos, std::span<const Real> sin,
              std::size_t head_dim, std::span<Real> x);

  // x: the stretches' tokens. May work in place.
  void scale_by_position(const ScaleByPosition& scale, std::span<const Stretch<N>> stretches,
                         std::span<const Real> x, std::span<Real> out);

  // Appends the stretches' keys and values to their caches, [tokens, heads, head_dim] each.
  void append(std::span<const Stretch<N>> stretches, std::span<KvCache<N>* const> caches,
              std::span<const Real> keys, std::span<const Real> values);
  // Grouped-query attention over the caches: query head h reads key/value head h / group. Each
  // query sees the positions up to its own, or with a window the last ones of them; hidden scores
  // are not computed. sinks: one for each query head, or null.
  struct Heads {
    std::size_t queries, keys;  // how many
    std::size_t head_dim;
  };
  void attend(const Scores& scores, const Heads& heads, std::int64_t layer,
              std::span<const Stretch<N>> stretches, std::span<KvCache<N>* const> caches,
              std::span<const Real> q, const Weight* sinks, std::span<Real> context);

  // out = a + b; may work in place.
  void add(std::span<const Real> a, std::span<const Real> b, std::span<Real> out);
  // out = x * factor, or x * w if w is not null: a vector of one element or of as many as a row of
  // x. May work in place.
  void multiply(const Multiply& multiply, std::span<const Real> x, const Weight* w,
                std::span<Real> out);
  // out = activation(gate) * up; out may be either of them.
  void gate(const Gate& gate, std::span<const Real> g, std::span<const Real> up,
            std::span<Real> out);
  // out = x * sigmoid(gate); each gate is for `share` elements of x. May work in place.
  void sigmoid_gate(std::span<const Real> x, std::span<const Real> gate, std::size_t share,
                    std::span<Real> out);
  void softcap(const Softcap& softcap, std::span<Real> x);
  // May work in place.
  void sigmoid(std::span<const Real> x, std::span<Real> out);

  // Copies parts of each token; outs: one per value.
  void unpack(const Unpack& unpack, std::span<const Real> x, std::span<const std::span<Real>> outs);
  // Brings the stretches' states forward. w: [channels, taps].
  void causal_conv(const CausalConv& conv, const Weight& w, std::span<const Stretch<N>> stretches,
                   std::span<RecurrentState<N>* const> states, std::span<const Real> x,
                   std::span<Real> out);
  // May work in place.
  void decay(const Weight& log, const Weight& bias, std::span<const Real> x, std::span<Real> out);
  // x: queries, keys, values; beta and decay: one per value head.
  void delta_rule(const DeltaRule& rule, std::span<const Stretch<N>> stretches,
                  std::span<RecurrentState<N>* const> states, std::span<const Real> x,
                  std::span<const Real> beta, std::span<const Real> decay, std::span<Real> out);
  // May write over x.
  void gated_norm(const GatedNorm& norm, const Weight& w, std::span<const Real> x,
                  std::span<const Real> z, std::span<Real> out);

  // A mixture of experts. A slot is one of a token's choices: token * per_token + i; ids and
  // weights have one number per slot.
  // May work in place, as may the next one.
  void router_scores(const RouterScores& scores, std::size_t experts, std::span<const Real> logits,
                     std::span<Real> out);
  void correct_scores(const CorrectScores& correct, std::span<const Real> scores,
                      const Weight& bias, std::span<Real> out);
  void top_experts(const TopExperts& top, std::span<const Real> scores, std::span<Real> ids);
  // scales: a factor for each expert, or null.
  void expert_weights(const ExpertWeights& weights, std::size_t experts, std::size_t per_token,
                      std::span<const Real> scores, std::span<const Real> ids, const Weight* scales,
                      std::span<Real> out);
  // Multiplies each slot's row of x by its expert's matrices. weights: for each expert one matrix
  // per output, or a matrix and a bias. slots_per_row: slots that read the same row of x
  // (per_token, or 1).
  void expert_linear(const ExpertLinear& linear, std::span<const Weight> weights,
                     std::span<const Real> x, std::size_t slots_per_row, std::span<const Real> ids,
                     std::span<const std::span<Real>> outs);
  // The sum of output * weight over a token's slots in their order, rounded once.
  void sum_experts(const SumExperts& sum, std::span<const Real> outputs,
                   std::span<const Real> weights, std::size_t width, std::size_t per_token,
                   std::span<Real> out);

 private:
  void unrounded_linear(std::span<const Real> x, std::span<const Projection> projections);

  // Consecutive tokens of one stretch, whose queries share one pass over a head's keys.
  struct Queries {
    std::size_t stretch;
    std::size_t token;     // in the tensors
    std::size_t position;  // in the sequence
    std::size_t count;
  };
  struct Attending;
  void attend_one(const Attending& with, const Queries& queries, std::size_t head, Real* scores);

  ThreadPool& pool_;
  const Kernels<N>& kernels_;
  WeightStream* stream_;
  AlignedVector<Real> packed_;  // tokens, laid out for a matmul of many
  AlignedVector<Real> scores_;  // of the current queries, per worker
  std::vector<Queries> queries_;
  AlignedVector<Real> rows_in_, rows_out_;  // of the current expert
  std::vector<float> ones_;                 // the weight of norms without one
};

// The expert with that id; an id out of range, which an observer may have set, is clamped.
template <class Real>
std::size_t expert_of(Real id, std::size_t experts) {
  const bool in_range = id >= 0 && id < static_cast<Real>(experts);
  return in_range ? static_cast<std::size_t>(id) : id < 0 ? experts - 1 : 0;
}

template <class N>
template <class Body>
void Ops<N>::for_each_block(const Weight& w, const Body& body) {
  if (stream_ == nullptr) return body(w, 0);
  for (std::size_t row = 0; row < w.rows;) {
    const Weight block = stream_->next();
    assert(block.cols == w.cols && row + block.rows <= w.rows);
    body(block, row);
    row += block.rows;
  }
}

}  // namespace assay
