// The forward pass: one, driven by the spec, compiled for each numerics.
#pragma once

#include <cassert>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <utility>
#include <vector>

#include "base/aligned_vector.h"
#include "base/thread_pool.h"
#include "model/exchange.h"
#include "model/kv_cache.h"
#include "model/model.h"
#include "model/recorder.h"
#include "numerics/kernels.h"
#include "numerics/rope_table.h"

namespace assay {

// Multiply-adds that are worth waking another thread for.
constexpr std::size_t kGrain = 32768;

// One sequence's part of a step: a whole prompt, a piece of one, or one decoded token.
template <class N>
struct Chunk {
  std::span<const std::int64_t> ids;               // the new tokens, at least one
  KvCache<N>* cache = nullptr;                     // holds all tokens before them
  Recorder* recorder = nullptr;                    // looks on, where not null
  Exchange<typename N::Real>* exchange = nullptr;  // looks on and takes part, where not null
};

// Every buffer of a step, by its tap's name; [tokens of all chunks, width], row-major.
template <class Real>
struct Activations {
  AlignedVector<Real> hidden;  // the residual stream
  AlignedVector<Real> normed;
  AlignedVector<Real> block;  // what attention or MLP adds to the residual stream
  AlignedVector<Real> logits;
  // One after the other in the same memory: attention's, until the MLP begins; then the MLP's.
  std::span<Real> q, k, v, context;
  std::span<Real> gate, up;
  AlignedVector<Real> shared;
  // Of a mixture: expert_ids and expert_weights [tokens, num_experts_per_tok]; gate and up have a
  // row for each of those, as expert_out.
  AlignedVector<Real> router_logits, expert_ids, expert_weights;
  AlignedVector<Real> expert_out;
  AlignedVector<Real> rows_in, rows_out;  // of the expert at hand
  AlignedVector<Real> layer_input;        // the stream before the layer, where the spec needs it
  AlignedVector<Real> unrotated;          // keys before the rotary embedding, where it needs those
  AlignedVector<Real> operand;            // what a matmul reads, where an exchange may change it

  void resize(const ModelSpec& spec, std::size_t tokens);
  void begin_attention(const ModelSpec& spec, std::size_t tokens);
  void begin_mlp(std::size_t rows, std::size_t width);  // rows: of gate and up

 private:
  std::span<Real> memory(std::size_t size);
};

// Results do not depend on how tokens are grouped into chunks, chunks into steps, or work into
// threads: bit for bit. Not thread-safe; it owns its buffers.
template <class N>
class ForwardPass {
 public:
  using Real = typename N::Real;

  // model, pool and kernels must outlive it.
  ForwardPass(const Model& model, ThreadPool& pool,
              const Kernels<N>& with = kernels<N>(chosen_simd()));
  // With another spec than the model's own; its sizes fit the weights.
  ForwardPass(const Model& model, const ModelSpec& spec, ThreadPool& pool,
              const Kernels<N>& with = kernels<N>(chosen_simd()));

  // Runs the chunks' tokens through the model, appends them to their caches, and returns the logits
  // of each chunk's last token: [chunks, vocab], valid until the next call. Ids must lie in
  // [0, vocab) and the caches have room.
  std::span<const Real> run(std::span<const Chunk<N>> chunks);

  // One whole sequence through some of the layers, in increasing order, and through final norm and
  // lm_head if asked to. The chunk's cache is empty and its exchange not null: it gives what lies
  // between layers that are left out. Nothing is appended to the sequence.
  void replay(const Chunk<N>& chunk, std::span<const std::int64_t> layers, bool with_head);

  // Weights in place of the model's, not while those are streamed. A layer's are valid until the
  // next call; null: the layer is left out.
  using LayerReader = std::function<const LayerWeights*(std::int64_t)>;
  void read_layers_with(LayerReader reader) { read_layer_ = std::move(reader); }
  void use_outer(const OuterWeights& outer) { outer_ = outer; }
  // Another spec for each layer, of the same sizes: asked for before it, and once more, with the
  // number of layers, before what follows the last one. Valid until the next call.
  using SpecReader = std::function<const ModelSpec&(std::int64_t)>;
  void read_specs_with(SpecReader reader) { read_spec_ = std::move(reader); }

  // Called after each layer of each step: for a progress bar.
  void on_layer(std::function<void()> callback) { on_layer_ = std::move(callback); }

 private:
  struct Token {
    std::size_t chunk;
    std::size_t position;
  };

  void start(std::span<const Chunk<N>> chunks);
  void layer(std::int64_t l);
  void head();
  void read_spec(std::int64_t l);

  // Operations on all tokens of the step, shared over the threads.
  struct Projection {
    const Weight& w;
    const Weight& bias;  // no data: none
    Real* out;           // of token t and row r: out[t * ldo + r]
    std::size_t ldo;
    std::size_t first_row = 0;  // w is a block of rows that begins with this one
  };
  void linear(std::span<const Real> x, std::initializer_list<Projection> projections);
  void pack(std::span<const Real> x, std::size_t cols);
  void matmul(std::span<const Real> x, std::initializer_list<Projection> projections);
  Projection onto(const Weight& w, const Weight& bias, std::span<Real> out);
  void rms_norm(const NormSpec& norm, std::span<const Real> x, const Weight& w, std::span<Real> out,
                std::size_t heads = 1, std::size_t parts = 1);
  void norm(Tap tap, std::int64_t l, const NormSpec& norm, std::span<const Real> x, const Weight& w,
            std::span<Real> out);
  void q_and_k_norms(std::int64_t l, const LayerWeights& w);
  void rope(std::int64_t l);
  void rope(std::int64_t l, std::span<Real> heads, std::size_t count);
  void append_to_cache(std::size_t l);
  void attention(std::int64_t l);
  void mlp(std::int64_t l, const LayerWeights& w, std::span<const Real> x);
  void activation(std::span<const Real> gate, std::span<Real> up);
  void add(Residual from, std::span<const Real> block, std::span<Real> hidden);

  // In forward_experts.cpp: a mixture of experts.
  struct ExpertProjection {
    Weight MlpWeights::*w;
    std::span<Real> out;  // [slots, rows of w]
  };
  void route(std::int64_t l, const Weight& router, std::span<const Real> x);
  void linear_by_expert(const std::vector<MlpWeights>& experts, std::span<const Real> x,
                        std::size_t slots_per_row,
                        std::initializer_list<ExpertProjection> projections);
  void add_experts();

  // In forward_rope.cpp: cos and sin of the step's tokens.
  struct Rotation {
    RopeFrequencies<Real> frequencies;
    std::vector<Real> cos, sin;  // [tokens, rotary_dims / 2], rounded as the numerics rounds
  };
  void rotate();
  void rotate(const RopeParameters& parameters, Rotation& rotation);
  Rotation& rotation_of(std::int64_t l);

  // In forward_variants.cpp: what the kernels do not do.
  void store(std::initializer_list<Projection> projections, std::size_t rows);
  void store(Real* values, std::size_t count);
  void variant_norm(const NormSpec& norm, std::span<const Real> x, const Weight& w,
                    std::span<Real> out, std::size_t heads, std::size_t parts);
  void scale_embedding();
  void finish_logits(std::span<Real> logits);
  std::size_t rope_position(const Token& token) const;
  bool attends_in_full() const;
  void attention_in_full(std::int64_t l);
  struct Head;
  void attend(const Head& head);

  void tap(Tap tap, std::int64_t l, std::span<Real> values);
  // x as a matmul reads it, in rows of `width`.
  std::span<const Real> as_read(Operand operand, std::int64_t l, std::span<const Real> x,
                                std::size_t width);

  // For dots of these n values. They are on the grid of the numerics unless the spec stores another
  // or an exchange gives its own.
  const Kernels<N>& kernels_for(const Real* x, std::size_t n) const;

  // Calls body(block, row) for blocks of the matrix's rows, `row` being the block's first: one
  // block unless weights are streamed.
  template <class Body>
  void for_each_block(const Weight& w, const Body& body);

  const Model& model_;
  ModelSpec spec_;
  OuterWeights outer_;
  ThreadPool& pool_;
  const Kernels<N>& kernels_;
  Activations<Real> act_;
  const Kernels<N>* dots_ = nullptr;  // for the tokens at hand
  AlignedVector<Real> packed_;        // those, as a matmul of many reads them
  AlignedVector<Real> scores_;        // of the queries at hand, per worker
  std::function<void()> on_layer_;
  LayerReader read_layer_;
  SpecReader read_spec_;
  Rotation rotation_, local_rotation_;

  // The step at hand.
  std::span<const Chunk<N>> chunks_;
  std::vector<Token> tokens_;
  // Consecutive tokens of one chunk, whose queries go through a head's keys together.
  struct Queries {
    std::size_t first;  // of tokens_
    std::size_t count;
  };
  std::vector<Queries> queries_;
  std::vector<std::vector<std::size_t>> slots_of_expert_;  // slot: token * experts per token + i
};

template <class N>
template <class Body>
void ForwardPass<N>::for_each_block(const Weight& w, const Body& body) {
  if (!model_.stream) return body(w, 0);
  for (std::size_t row = 0; row < w.rows;) {
    const Weight block = model_.stream->next();
    assert(block.cols == w.cols && row + block.rows <= w.rows);
    body(block, row);
    row += block.rows;
  }
}

}  // namespace assay
