#include "model/executor.h"

#include <algorithm>
#include <cassert>
#include <utility>
#include <variant>

#include "ops/foreign.h"

namespace assay {
namespace {

// Rows of logits computed at a time, so that the buffer stays small even for a long prompt.
constexpr std::size_t kLogitRows = 32;

// A step's only weight, or null.
const Weight* only_weight(const std::vector<Weight>& weights) {
  return weights.empty() ? nullptr : weights.data();
}

// The values that later blocks import from others.
template <class Kept>
std::vector<Kept> imported(const Program& program) {
  std::vector<Kept> all;
  for (const Block& layer : program.layers) {
    for (const Import& import : layer.imports) {
      if (std::ranges::count(all, import.from, &Kept::from) > 0) continue;
      std::size_t width = 1;
      for (const std::int64_t size : layer.values[import.value].shape) {
        width *= static_cast<std::size_t>(size);
      }
      all.push_back({import.from, width});
    }
  }
  return all;
}

// A step's matrices with their biases, if any.
template <class N>
std::vector<typename Ops<N>::Projection> projections_of(const Step& step,
                                                        const std::vector<Weight>& weights) {
  std::vector<typename Ops<N>::Projection> all;
  all.reserve(step.writes.size());
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (step.tensors[i].rows == 0) {
      all.back().bias = weights[i];
    } else {
      all.push_back({weights[i], {}, nullptr, weights[i].rows});
    }
  }
  return all;
}

}  // namespace

template <class N>
Executor<N>::Executor(const Model& model, ThreadPool& pool, const Kernels<N>& with)
    : program_(model.program),
      read_([&weights = model.weights](std::int64_t l) -> const BlockWeights& {
        if (l == kEmbedding) return weights.embedding;
        return l == kHead ? weights.head : weights.layers[static_cast<std::size_t>(l)];
      }),
      ops_(pool, with, model.stream.get()),
      plans_(program_.layers.size() + 2),
      kept_(imported<Kept>(program_)) {
  require_fma();
}

template <class N>
Executor<N>::Executor(const Program& program, ReadWeights read, ThreadPool& pool,
                      const Kernels<N>& with)
    : program_(program),
      read_(std::move(read)),
      ops_(pool, with),
      plans_(program.layers.size() + 2),
      kept_(imported<Kept>(program)) {
  require_fma();
}

template <class N>
std::span<const typename N::Real> Executor<N>::run(std::span<const Chunk<N>> chunks) {
  start(chunks);
  for (std::size_t l = 0; l < program_.layers.size(); ++l) {
    layer(static_cast<std::int64_t>(l));
    if (on_layer_) on_layer_();
  }
  const std::span<const Real> logits = head();
  for (const Chunk<N>& chunk : chunks) chunk.sequence->advance(chunk.ids.size());
  return logits;
}

template <class N>
void Executor<N>::start(std::span<const Chunk<N>> chunks) {
  if (ops_.stream() != nullptr) ops_.stream()->begin();
  chunks_ = chunks;
  stretches_.clear();
  ids_.clear();
  for (const Chunk<N>& chunk : chunks) {
    const std::size_t first = chunk.sequence->length();
    assert(!chunk.ids.empty() && first + chunk.ids.size() <= chunk.sequence->capacity());
    stretches_.push_back({first, chunk.ids.size(), chunk.observer});
    ids_.insert(ids_.end(), chunk.ids.begin(), chunk.ids.end());
  }
  for (Rotation& rotation : rotations_) rotation.current = false;
  // Zeros stand for what a changed program does not show.
  for (Kept& value : kept_) value.values.assign(value.width * ids_.size(), Real{0});
  run_block(program_.embedding, kEmbedding);
}

template <class N>
void Executor<N>::layer(std::int64_t l) {
  run_block(program_.layers[static_cast<std::size_t>(l)], l);
}

template <class N>
std::span<typename N::Real> Executor<N>::stream() {
  const auto hidden = static_cast<std::size_t>(program_.embedding.values[0].shape[0]);
  return std::span<Real>(buffers_[0]).first(ids_.size() * hidden);
}

template <class N>
const BufferPlan& Executor<N>::plan_of(const Block& block, std::int64_t which) {
  const auto layers = static_cast<std::int64_t>(program_.layers.size());
  auto& plan = plans_[static_cast<std::size_t>(which == kHead ? layers + 1 : which + 1)];
  if (!plan) {
    plan = plan_buffers(block, which == kHead ? head_matrix_step(block) : block.steps.size());
  }
  // Growing discards the contents, which are no longer needed; the residual stream's never grows.
  if (buffers_.size() < plan->buffer_widths.size()) buffers_.resize(plan->buffer_widths.size());
  for (std::size_t b = 0; b < plan->buffer_widths.size(); ++b) {
    const std::size_t size = plan->buffer_widths[b] * ids_.size();
    if (buffers_[b].size() >= size) continue;
    buffers_[b] = {};
    buffers_[b].resize(size);
  }
  return *plan;
}

template <class N>
void Executor<N>::run_block(const Block& block, std::int64_t which) {
  Run run{block, read_(which), plan_of(block, which), std::max<std::int64_t>(which, 0)};
  run_steps(run, 0, block.steps.size());
  const std::span<Real> result = value(run, block.result);
  if (result.data() != buffers_[0].data()) std::ranges::copy(result, buffers_[0].begin());
}

template <class N>
void Executor<N>::run_steps(Run& run, std::size_t first, std::size_t last) {
  for (run.step = first; run.step < last; ++run.step) {
    const Step& step = run.block.steps[run.step];
    std::visit([&](const auto& operation) { operate(run, operation); }, step.operation);
    for (const ValueId v : step.writes) {
      show(run, v);
      keep(run, v);
    }
  }
}

template <class N>
std::span<typename N::Real> Executor<N>::value(const Run& run, ValueId v) {
  if (const Import* import = run.block.import_of(v)) return kept(import->from)->values;
  const std::optional<std::size_t> buffer = run.plan.buffers[v];
  if (!buffer) return {};
  return std::span<Real>(buffers_[*buffer]).first(run.plan.widths[v] * ids_.size());
}

template <class N>
std::span<typename N::Real> Executor<N>::read(const Run& run, std::size_t i) {
  return value(run, run.block.steps[run.step].reads[i]);
}

template <class N>
std::span<typename N::Real> Executor<N>::written(const Run& run, std::size_t i) {
  return value(run, run.block.steps[run.step].writes[i]);
}

template <class N>
void Executor<N>::show(const Run& run, ValueId v) {
  const std::optional<Tap> tap = run.block.values[v].tap;
  if (!tap || !run.plan.buffers[v]) return;
  const std::size_t width = run.plan.widths[v];
  Real* values = value(run, v).data();
  for (const Stretch<N>& stretch : stretches_) {
    if (stretch.observer != nullptr && stretch.observer->wants(*tap, run.layer)) {
      stretch.observer->rows(*tap, run.layer, static_cast<std::int64_t>(stretch.position),
                             static_cast<std::int64_t>(stretch.count), width, values);
    }
    values += stretch.count * width;
  }
}

template <class N>
typename Executor<N>::Kept* Executor<N>::kept(const TapPlace& from) {
  const auto found = std::ranges::find(kept_, from, &Kept::from);
  return found == kept_.end() ? nullptr : &*found;
}

template <class N>
void Executor<N>::keep(const Run& run, ValueId v) {
  const std::optional<Tap> tap = run.block.values[v].tap;
  if (!tap || kept_.empty()) return;
  Kept* to = kept({*tap, is_layer_tap(*tap) ? run.layer : -1});
  if (to != nullptr) std::ranges::copy(value(run, v), to->values.begin());
}

template <class N>
const typename Executor<N>::Rotation& Executor<N>::rotation_of(const Rotate& rotate) {
  auto found = std::ranges::find(rotations_, rotate, &Rotation::of);
  if (found == rotations_.end()) {
    const RopeRows<Real> rows(program_.ropes[rotate.table], static_cast<std::size_t>(rotate.dims));
    found = rotations_.insert(found, {rotate, rows, false, {}, {}});
  }
  if (!found->current) compute(*found);
  return *found;
}

template <class N>
void Executor<N>::compute(Rotation& rotation) {
  const auto half = static_cast<std::size_t>(rotation.of.dims) / 2;
  rotation.cos.resize(ids_.size() * half);
  rotation.sin.resize(ids_.size() * half);
  std::size_t t = 0;
  for (const Stretch<N>& stretch : stretches_) {
    rotation.rows.compute(stretch.position, stretch.position + stretch.count,
                          &rotation.cos[t * half], &rotation.sin[t * half]);
    t += stretch.count;
  }
  rotation.current = true;
  if (rotation.of.rounded_once) return;
  for (std::vector<Real>* table : {&rotation.cos, &rotation.sin}) {
    std::ranges::transform(*table, table->begin(), [](Real x) { return N::round(x); });
  }
}

template <class N>
void Executor<N>::operate(Run& run, const Lookup& lookup) {
  ops_.lookup(lookup, run.weights[run.step][0], ids_, written(run, 0));
}

template <class N>
void Executor<N>::operate(Run& run, const RmsNorm& norm) {
  ops_.rms_norm(norm, read(run, 0), only_weight(run.weights[run.step]), written(run, 0));
}

template <class N>
void Executor<N>::operate(Run& run, const Linear& linear) {
  auto projections = projections_of<N>(run.block.steps[run.step], run.weights[run.step]);
  for (std::size_t i = 0; i < projections.size(); ++i) projections[i].out = written(run, i).data();
  ops_.linear(linear, read(run, 0), projections);
}

template <class N>
void Executor<N>::operate(Run& run, const Rotate& rotate) {
  const Rotation& rotation = rotation_of(rotate);
  const ValueId from = run.block.steps[run.step].reads[0];
  const std::span<Real> x = written(run, 0);
  if (read(run, 0).data() != x.data()) std::ranges::copy(read(run, 0), x.begin());
  ops_.rotate(rotate, rotation.cos, rotation.sin,
              static_cast<std::size_t>(run.block.values[from].shape[1]), x);
}

template <class N>
void Executor<N>::operate(Run& run, const ScaleByPosition& scale) {
  ops_.scale_by_position(scale, stretches_, read(run, 0), written(run, 0));
}

template <class N>
void Executor<N>::operate(Run& run, const Scores& scores) {
  const Block& block = run.block;
  const Step& context = block.steps[context_step(block, run.step)];
  const ValueId queries = block.steps[run.step].reads[0];
  const ValueId keys = block.steps[run.step].reads[1];
  const std::vector<std::int64_t>& shape = block.values[keys].shape;
  const auto layer = static_cast<std::size_t>(run.layer);
  std::vector<KvCache<N>*> caches;
  for (const Chunk<N>& chunk : chunks_) {
    caches.push_back(&chunk.sequence->cache(layer, run.step));
  }
  // Imported keys and values are in the cache of their own layer.
  if (block.import_of(keys) == nullptr) {
    ops_.append(stretches_, caches, value(run, keys), value(run, context.reads[1]));
  }
  const std::vector<Weight>& sinks = run.weights[softmax_step(block, run.step)];
  ops_.attend(scores,
              {static_cast<std::size_t>(block.values[queries].shape[0]),
               static_cast<std::size_t>(shape[0]), static_cast<std::size_t>(shape[1])},
              run.layer, stretches_, caches, value(run, queries), only_weight(sinks),
              value(run, context.writes[0]));
}

template <class N>
void Executor<N>::operate(Run& run, const Add&) {
  ops_.add(read(run, 1), read(run, 0), written(run, 0));
}

template <class N>
void Executor<N>::operate(Run& run, const Multiply& multiply) {
  ops_.multiply(multiply, read(run, 0), only_weight(run.weights[run.step]), written(run, 0));
}

template <class N>
void Executor<N>::operate(Run& run, const Gate& gate) {
  ops_.gate(gate, read(run, 0), read(run, 1), written(run, 0));
}

template <class N>
void Executor<N>::operate(Run& run, const SigmoidGate&) {
  const Step& step = run.block.steps[run.step];
  ops_.sigmoid_gate(read(run, 0), read(run, 1),
                    run.plan.widths[step.reads[0]] / run.plan.widths[step.reads[1]],
                    written(run, 0));
}

template <class N>
void Executor<N>::operate(Run& run, const Unpack& unpack) {
  std::vector<std::span<Real>> outs;
  for (std::size_t i = 0; i < run.block.steps[run.step].writes.size(); ++i) {
    outs.push_back(written(run, i));
  }
  ops_.unpack(unpack, read(run, 0), outs);
}

template <class N>
void Executor<N>::operate(Run& run, const Sigmoid&) {
  ops_.sigmoid(read(run, 0), written(run, 0));
}

// Those of the current step, one per chunk.
template <class N>
std::vector<RecurrentState<N>*> Executor<N>::recurrent_states(const Run& run) {
  std::vector<RecurrentState<N>*> states;
  for (const Chunk<N>& chunk : chunks_) {
    states.push_back(&chunk.sequence->recurrent(static_cast<std::size_t>(run.layer), run.step));
  }
  return states;
}

template <class N>
void Executor<N>::operate(Run& run, const CausalConv& conv) {
  ops_.causal_conv(conv, run.weights[run.step][0], stretches_, recurrent_states(run), read(run, 0),
                   written(run, 0));
}

template <class N>
void Executor<N>::operate(Run& run, const Decay&) {
  const std::vector<Weight>& weights = run.weights[run.step];
  ops_.decay(weights[0], weights[1], read(run, 0), written(run, 0));
}

template <class N>
void Executor<N>::operate(Run& run, const DeltaRule& rule) {
  ops_.delta_rule(rule, stretches_, recurrent_states(run), read(run, 0), read(run, 1), read(run, 2),
                  written(run, 0));
}

template <class N>
void Executor<N>::operate(Run& run, const GatedNorm& norm) {
  ops_.gated_norm(norm, run.weights[run.step][0], read(run, 0), read(run, 1), written(run, 0));
}

template <class N>
void Executor<N>::operate(Run& run, const RouterScores& scores) {
  const Step& step = run.block.steps[run.step];
  ops_.router_scores(scores, run.plan.widths[step.reads[0]], read(run, 0), written(run, 0));
}

template <class N>
void Executor<N>::operate(Run& run, const CorrectScores& correct) {
  ops_.correct_scores(correct, read(run, 0), run.weights[run.step][0], written(run, 0));
}

template <class N>
void Executor<N>::operate(Run& run, const TopExperts& top) {
  ops_.top_experts(top, read(run, 0), written(run, 0));
}

template <class N>
void Executor<N>::operate(Run& run, const ExpertWeights& weights) {
  const Step& step = run.block.steps[run.step];
  ops_.expert_weights(weights, run.plan.widths[step.reads[0]], run.plan.widths[step.reads[1]],
                      read(run, 0), read(run, 1), only_weight(run.weights[run.step]),
                      written(run, 0));
}

template <class N>
void Executor<N>::operate(Run& run, const ExpertLinear& linear) {
  const Step& step = run.block.steps[run.step];
  std::vector<std::span<Real>> outs;
  for (std::size_t i = 0; i < step.writes.size(); ++i) outs.push_back(written(run, i));
  // Each of a token's experts reads its own row, or all of them the token's.
  const bool own_rows = run.block.values[step.reads[0]].shape.size() > 1;
  ops_.expert_linear(linear, run.weights[run.step], read(run, 0),
                     own_rows ? 1 : static_cast<std::size_t>(linear.per_token), read(run, 1), outs);
}

template <class N>
void Executor<N>::operate(Run& run, const SumExperts& sum) {
  const Step& step = run.block.steps[run.step];
  ops_.sum_experts(sum, read(run, 0), read(run, 1), run.plan.widths[step.writes[0]],
                   run.plan.widths[step.reads[1]], written(run, 0));
}

template <class N>
void Executor<N>::operate(Run& run, const Softcap& softcap) {
  const std::span<Real> x = written(run, 0);
  if (read(run, 0).data() != x.data()) std::ranges::copy(read(run, 0), x.begin());
  ops_.softcap(softcap, x);
}

template <class N>
void Executor<N>::operate(Run& run, const Foreign& foreign) {
  assert(chunks_.size() == 1 && stretches_.front().position == 0);
  const Step& step = run.block.steps[run.step];
  ForeignRun<N> with{ops_, run.layer, ids_.size(), ids_};
  for (std::size_t i = 0; i < step.reads.size(); ++i) {
    with.reads.push_back(read(run, i));
    with.widths.push_back(run.plan.widths[step.reads[i]]);
  }
  for (std::size_t i = 0; i < step.writes.size(); ++i) with.writes.push_back(written(run, i));
  if (!step.reads.empty()) {
    with.head_dim = static_cast<std::size_t>(run.block.values[step.reads[0]].shape.back());
  }
  with.weights = run.weights[run.step];
  with.observer = stretches_.front().observer;
  foreign.operation->run(with);
}

// The steps after the head's matrix, on some columns of some positions.
template <class N>
void Executor<N>::logits_tail(Run& run, std::size_t first, std::size_t first_column,
                              std::size_t columns, std::span<Real> logits) {
  for (std::size_t s = first; s < run.block.steps.size(); ++s) {
    const Step& step = run.block.steps[s];
    if (const auto* softcap = std::get_if<Softcap>(&step.operation)) {
      ops_.softcap(*softcap, logits);
    } else {
      ForeignRun<N> with{ops_, 0, logits.size() / columns, ids_};
      with.reads = with.writes = {logits};
      with.widths = {columns};
      with.first_column = first_column;
      std::get<Foreign>(step.operation).operation->run(with);
    }
  }
}

// Logits of all positions if an observer wants them, else only of the last ones. The head's matrix
// is read once for all of them.
template <class N>
std::span<const typename N::Real> Executor<N>::head() {
  const Block& block = program_.head;
  Run run{block, read_(kHead), plan_of(block, kHead), 0};
  const std::size_t matrix = head_matrix_step(block);
  run_steps(run, 0, matrix);
  const std::span<Real> x = value(run, block.steps[matrix].reads[0]);
  const std::size_t hidden = x.size() / ids_.size();
  auto projection = projections_of<N>(block.steps[matrix], run.weights[matrix]).front();
  const Weight whole = projection.w;
  const std::size_t vocab = whole.rows;

  struct Row {
    std::size_t token;
    std::size_t position;
    Observer<Real>* observer;  // null if none wants it
    Real* last;                // destination if it is a chunk's last row
  };
  logits_.resize(chunks_.size() * vocab);
  std::vector<Row> wanted;
  std::size_t token = 0;
  for (std::size_t c = 0; c < chunks_.size(); ++c) {
    const Stretch<N>& stretch = stretches_[c];
    const bool looks = stretch.observer != nullptr && stretch.observer->wants(Tap::kLogits, 0);
    for (std::size_t i = 0; i < stretch.count; ++i, ++token) {
      const bool last = i + 1 == stretch.count;
      if (!looks && !last) continue;
      wanted.push_back({token, stretch.position + i, looks ? stretch.observer : nullptr,
                        last ? &logits_[c * vocab] : nullptr});
    }
  }
  AlignedVector<Real> rows;
  AlignedVector<Real> logits;
  ops_.for_each_block(whole, [&](const Weight& part, std::size_t first) {
    for (std::size_t begin = 0; begin < wanted.size(); begin += kLogitRows) {
      const std::size_t count = std::min(kLogitRows, wanted.size() - begin);
      rows.resize(count * hidden);
      logits.resize(count * part.rows);
      for (std::size_t i = 0; i < count; ++i) {
        std::copy_n(&x[wanted[begin + i].token * hidden], hidden, &rows[i * hidden]);
      }
      ops_.lay_out(rows, hidden);
      projection = {part, projection.bias, logits.data(), part.rows, first};
      ops_.project(rows, {&projection, 1});
      logits_tail(run, matrix + 1, first, part.rows, logits);
      for (std::size_t i = 0; i < count; ++i) {
        const Row& row = wanted[begin + i];
        Real* values = &logits[i * part.rows];
        if (row.observer != nullptr) {
          row.observer->columns(static_cast<std::int64_t>(row.position),
                                static_cast<std::int64_t>(first),
                                static_cast<std::int64_t>(part.rows), values);
        }
        if (row.last != nullptr) std::copy_n(values, part.rows, row.last + first);
      }
    }
  });
  return logits_;
}

template class Executor<Bf16>;
template class Executor<F32>;
template class Executor<F64>;

}  // namespace assay
