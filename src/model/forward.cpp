#include "model/forward.h"

#include <algorithm>
#include <cassert>
#include <type_traits>

#include "model/variant_ops.h"

namespace assay {
namespace {

// Queries of one head that are taken together: their scores stay in the cache.
constexpr std::size_t kQueries = 12;
// Rows of logits computed at a time, so that the buffer stays small beside a long prompt.
constexpr std::size_t kLogitRows = 32;

}  // namespace

template <class N>
std::span<const typename N::Real> ForwardPass<N>::run(std::span<const Chunk<N>> chunks) {
  start(chunks);
  for (std::int64_t l = 0; l < spec_.num_hidden_layers; ++l) {
    layer(l);
    if (on_layer_) on_layer_();
  }
  head();
  for (const Chunk<N>& chunk : chunks) chunk.cache->advance(chunk.ids.size());
  return act_.logits;
}

template <class N>
void ForwardPass<N>::replay(const Chunk<N>& chunk, std::span<const std::int64_t> layers,
                            bool with_head) {
  assert(chunk.exchange != nullptr && chunk.cache->length() == 0);
  start({&chunk, 1});
  std::int64_t next = 0;  // the layer that act_.hidden enters
  for (const std::int64_t l : layers) {
    if (l != next) chunk.exchange->stream_into(l, act_.hidden.data());
    layer(l);
    next = l + 1;
  }
  if (!with_head) return;
  if (next != spec_.num_hidden_layers) {
    chunk.exchange->stream_into(spec_.num_hidden_layers, act_.hidden.data());
  }
  head();
}

template <class N>
void ForwardPass<N>::read_spec(std::int64_t l) {
  if (!read_spec_) return;
  const ModelSpec& wanted = read_spec_(l);
  if (wanted == spec_) return;
  spec_ = wanted;
  rotation_ = {};
  local_rotation_ = {};
  rotate();
}

// A decoder layer: x + attention(norm(x)), then x + mlp(norm(x)); the norms stand where the model
// has them.
template <class N>
void ForwardPass<N>::layer(std::int64_t l) {
  read_spec(l);
  const LayerWeights* read =
      read_layer_ ? read_layer_(l) : &model_.layers[static_cast<std::size_t>(l)];
  if (read == nullptr) return tap(Tap::kLayerOutput, l, act_.hidden);
  const LayerWeights& w = *read;
  const BlockSpec& block = spec_.block;
  const bool norms_before = spec_.has_norms_before();
  const bool norms_after = spec_.has_norms_after();
  const bool norms_behind_add = block.norms == Norms::kBehindAdd;
  Activations<Real>& a = act_;
  a.begin_attention(spec_, tokens_.size());
  if (needs_layer_input(block)) a.layer_input = a.hidden;

  if (norms_before) norm(Tap::kInputNorm, l, spec_.input_norm, a.hidden, w.input_norm, a.normed);
  linear(as_read(Operand::kQkv, l, norms_before ? a.normed : a.hidden, w.q_proj.cols),
         {onto(w.q_proj, w.q_bias, a.q), onto(w.k_proj, w.k_bias, a.k),
          onto(w.v_proj, w.v_bias, a.v)});
  tap(Tap::kQProj, l, a.q);
  tap(Tap::kKProj, l, a.k);
  tap(Tap::kVProj, l, a.v);
  if (!spec_.qk_norms.after_rope) q_and_k_norms(l, w);
  rope(l);
  if (spec_.qk_norms.after_rope) q_and_k_norms(l, w);

  append_to_cache(static_cast<std::size_t>(l));
  if (attends_in_full()) {
    attention_in_full(l);
  } else {
    attention(l);
  }
  tap(Tap::kAttnContext, l, a.context);
  linear(as_read(Operand::kO, l, a.context, w.o_proj.cols), {onto(w.o_proj, w.o_bias, a.block)});
  tap(Tap::kAttnOutput, l, a.block);
  if (norms_after) {
    norm(Tap::kAttnPostNorm, l, spec_.attn_post_norm, a.block, w.attn_post_norm, a.block);
  }
  add(block.attention, a.block, a.hidden);
  if (norms_behind_add) {
    norm(Tap::kInputNorm, l, spec_.input_norm, a.hidden, w.input_norm, a.hidden);
  }
  tap(Tap::kAttnResidual, l, a.hidden);

  if (norms_before) {
    norm(Tap::kMlpNorm, l, spec_.mlp_norm, block.parallel ? a.layer_input : a.hidden, w.mlp_norm,
         a.normed);
  }
  mlp(l, w, norms_before ? a.normed : block.parallel ? a.layer_input : a.hidden);
  if (norms_after) {
    norm(Tap::kMlpPostNorm, l, spec_.mlp_post_norm, a.block, w.mlp_post_norm, a.block);
  }
  add(block.mlp, a.block, a.hidden);
  if (norms_behind_add) norm(Tap::kMlpNorm, l, spec_.mlp_norm, a.hidden, w.mlp_norm, a.hidden);
  tap(Tap::kLayerOutput, l, a.hidden);
}

// down(act(gate(x)) * up(x)); in a sparse layer by each of a token's experts.
template <class N>
void ForwardPass<N>::mlp(std::int64_t l, const LayerWeights& w, std::span<const Real> x) {
  Activations<Real>& a = act_;
  const bool sparse = !w.experts.empty();
  const auto slots = static_cast<std::size_t>(sparse ? spec_.moe.num_experts_per_tok : 1);
  const auto width =
      static_cast<std::size_t>(sparse ? spec_.moe.intermediate_size : spec_.intermediate_size);
  a.begin_mlp(tokens_.size() * slots, width);
  if (sparse) {
    route(l, w.router, x);
    linear_by_expert(w.experts, as_read(Operand::kGateUp, l, x, w.router.cols), slots,
                     {{&MlpWeights::gate_proj, a.gate}, {&MlpWeights::up_proj, a.up}});
  } else {
    linear(
        as_read(Operand::kGateUp, l, x, w.mlp.gate_proj.cols),
        {onto(w.mlp.gate_proj, w.mlp.gate_bias, a.gate), onto(w.mlp.up_proj, w.mlp.up_bias, a.up)});
  }
  tap(Tap::kGateProj, l, a.gate);
  tap(Tap::kUpProj, l, a.up);
  activation(a.gate, a.up);
  tap(Tap::kMlpAct, l, a.up);
  if (sparse) {
    a.expert_out.resize(tokens_.size() * slots * static_cast<std::size_t>(spec_.hidden_size));
    linear_by_expert(w.experts, as_read(Operand::kDown, l, a.up, width), 1,
                     {{&MlpWeights::down_proj, a.expert_out}});
    add_experts();
  } else {
    linear(as_read(Operand::kDown, l, a.up, width),
           {onto(w.mlp.down_proj, w.mlp.down_bias, a.block)});
  }
  tap(Tap::kMlpOutput, l, a.block);
}

// Where the model has them.
template <class N>
void ForwardPass<N>::q_and_k_norms(std::int64_t l, const LayerWeights& w) {
  if (!spec_.qk_norm) return;
  const auto of = [&](const NormSpec& norm, const Weight& weight, std::int64_t heads,
                      std::span<Real> x) {
    const auto count = static_cast<std::size_t>(heads);
    rms_norm(norm, x, weight, x, spec_.qk_norms.across_heads ? count : 1,
             spec_.qk_norms.each_head ? count : 1);
  };
  of(spec_.q_norm, w.q_norm, spec_.num_attention_heads, act_.q);
  tap(Tap::kQNorm, l, act_.q);
  of(spec_.k_norm, w.k_norm, spec_.num_key_value_heads, act_.k);
  tap(Tap::kKNorm, l, act_.k);
  if (spec_.qk_norms.on_v) of(spec_.k_norm, w.k_norm, spec_.num_key_value_heads, act_.v);
}

// Grouped-query attention over the cache, query head h reading key/value head h / group. Each query
// sees the positions up to its own, in a sliding layer the last ones of them; what the mask would
// hide is not computed.
template <class N>
void ForwardPass<N>::attention(std::int64_t l) {
  const auto heads = static_cast<std::size_t>(spec_.num_attention_heads);
  const std::size_t group = heads / static_cast<std::size_t>(spec_.num_key_value_heads);
  const auto head_dim = static_cast<std::size_t>(spec_.head_dim);
  const auto scale = static_cast<Real>(spec_.attention_scale());
  // The first position that the query at p sees.
  const Seen sees{1, spec_.is_sliding(l) && spec_.attention.window > 0
                         ? static_cast<std::size_t>(spec_.attention.window)
                         : Seen{}.window};
  const auto first_seen = [sees](std::size_t p) { return sees.begin(p); };

  std::size_t longest = 0;
  std::size_t work = 0;
  for (const Token& token : tokens_) {
    longest = std::max(longest, token.position + 1);
    work += (token.position + 1 - first_seen(token.position)) * head_dim * heads * 2;
  }
  for (const Chunk<N>& chunk : chunks_) {
    for (const Tap tap : {Tap::kAttnScores, Tap::kAttnProbs}) {
      if (chunk.recorder == nullptr || !chunk.recorder->wants(tap, l)) continue;
      chunk.recorder->begin_attention(tap, l, tap == Tap::kAttnScores ? N::kMasked : Real{0});
    }
  }

  // Rows of scores from the first position of a block of keys to the last.
  constexpr std::size_t kKeys = CacheLayout::kBlock;
  const std::size_t width = CacheLayout::whole_blocks(longest);
  scores_.resize(static_cast<std::size_t>(pool_.size()) * kQueries * width);
  // A head's keys and values stay in the cache while its queries pass over them.
  const auto one = [&](std::size_t item, int worker) {
    const std::size_t h = item / queries_.size();
    const Queries queries = queries_[item % queries_.size()];
    const Token first = tokens_[queries.first];
    const Chunk<N>& chunk = chunks_[first.chunk];
    // The positions that any of the queries sees, from the block of the first on.
    const std::size_t begin = first_seen(first.position) / kKeys * kKeys;
    const std::size_t end = first.position + queries.count;
    const std::size_t count = end - begin;
    Real* scores = &scores_[static_cast<std::size_t>(worker) * kQueries * width];
    const auto look = [&](Tap tap) {
      if (chunk.recorder == nullptr || !chunk.recorder->wants(tap, l)) return;
      for (std::size_t i = 0; i < queries.count; ++i) {
        const std::size_t seen = first_seen(first.position + i);
        chunk.recorder->attention_row(
            tap, l, static_cast<std::int64_t>(h), static_cast<std::int64_t>(first.position + i),
            static_cast<std::int64_t>(seen), scores + i * width + (seen - begin));
      }
    };
    const std::size_t stride = heads * head_dim;
    const std::size_t at = queries.first * stride + h * head_dim;
    const auto layer = static_cast<std::size_t>(l);
    kernels_.scores(&act_.q[at], stride, queries.count, chunk.cache->keys(layer, h / group, begin),
                    count, head_dim, scale, scores, width);
    for (std::size_t i = 0; spec_.attention.softcap > 0 && i < queries.count; ++i) {
      Real* row = scores + i * width;
      kernels_.softcap(row, static_cast<Real>(spec_.attention.softcap), count, row);
    }
    look(Tap::kAttnScores);
    for (std::size_t i = 0; i < queries.count; ++i) {
      const std::size_t seen = first_seen(first.position + i);
      Real* row = scores + i * width + (seen - begin);
      kernels_.softmax(row, first.position + i + 1 - seen, row);
    }
    look(Tap::kAttnProbs);
    kernels_.weighted_sum(scores, width, queries.count, {first.position + 1 - begin, sees.window},
                          chunk.cache->values(layer, h / group, begin), head_dim, &act_.context[at],
                          stride);
  };
  pool_.share_items(heads * queries_.size(), work / kGrain + 1, one);
  for (const Chunk<N>& chunk : chunks_) {
    for (const Tap tap : {Tap::kAttnScores, Tap::kAttnProbs}) {
      if (chunk.recorder == nullptr || !chunk.recorder->wants(tap, l)) continue;
      chunk.recorder->end_attention(tap, l, std::ssize(chunk.ids));
    }
  }
}

template <class N>
ForwardPass<N>::ForwardPass(const Model& model, ThreadPool& pool, const Kernels<N>& with)
    : ForwardPass(model, model.spec, pool, with) {}

template <class N>
ForwardPass<N>::ForwardPass(const Model& model, const ModelSpec& spec, ThreadPool& pool,
                            const Kernels<N>& with)
    : model_(model), spec_(spec), outer_(model.outer), pool_(pool), kernels_(with) {
  require_fma();
}

// Lays out the step's tokens and looks up their embeddings.
template <class N>
void ForwardPass<N>::start(std::span<const Chunk<N>> chunks) {
  if (model_.stream) model_.stream->begin();
  chunks_ = chunks;
  tokens_.clear();
  queries_.clear();
  for (std::size_t c = 0; c < chunks.size(); ++c) {
    const std::size_t first = chunks[c].cache->length();
    assert(!chunks[c].ids.empty() && first + chunks[c].ids.size() <= chunks[c].cache->capacity());
    const std::size_t count = chunks[c].ids.size();
    for (std::size_t i = 0; i < count; i += kQueries) {
      queries_.push_back({tokens_.size() + i, std::min(kQueries, count - i)});
    }
    for (std::size_t i = 0; i < count; ++i) tokens_.push_back({c, first + i});
  }
  rotate();

  act_.resize(spec_, tokens_.size());
  const auto hidden = static_cast<std::size_t>(spec_.hidden_size);
  std::size_t t = 0;
  for (const Chunk<N>& chunk : chunks) {
    for (const std::int64_t id : chunk.ids) {
      const std::int64_t row =
          std::clamp<std::int64_t>(id + spec_.embedding.row_offset, 0, spec_.vocab_size - 1);
      kernels_.load_row(outer_.embed_tokens, static_cast<std::size_t>(row),
                        &act_.hidden[t * hidden]);
      ++t;
    }
  }
  scale_embedding();
  tap(Tap::kEmbeddingOutput, 0, act_.hidden);
}

// Final norm and lm_head: of all positions where somebody records them, else of the last ones.
template <class N>
void ForwardPass<N>::head() {
  read_spec(spec_.num_hidden_layers);
  const auto hidden = static_cast<std::size_t>(spec_.hidden_size);
  const auto vocab = static_cast<std::size_t>(spec_.vocab_size);
  norm(Tap::kFinalNormOutput, 0, spec_.final_norm, act_.hidden, outer_.norm, act_.normed);

  // The rows of all chunks together, so that the head's weights are read once for all of them.
  struct Row {
    std::size_t token;
    const Chunk<N>* records;  // whose recorder or exchange wants it
    Real* last;               // where it goes as a chunk's last row
  };
  act_.logits.resize(chunks_.size() * vocab);
  std::vector<Row> wanted;
  std::size_t token = 0;
  for (std::size_t c = 0; c < chunks_.size(); ++c) {
    const Chunk<N>& chunk = chunks_[c];
    const bool records = (chunk.recorder != nullptr && chunk.recorder->wants(Tap::kLogits, 0)) ||
                         chunk.exchange != nullptr;
    for (std::size_t left = chunk.ids.size(); left > 0; --left, ++token) {
      if (!records && left > 1) continue;
      wanted.push_back(
          {token, records ? &chunk : nullptr, left == 1 ? &act_.logits[c * vocab] : nullptr});
    }
  }
  AlignedVector<Real> rows;
  AlignedVector<Real> logits;
  for_each_block(outer_.lm_head, [&](const Weight& block, std::size_t first) {
    for (std::size_t begin = 0; begin < wanted.size(); begin += kLogitRows) {
      const std::size_t count = std::min(kLogitRows, wanted.size() - begin);
      rows.resize(count * hidden);
      logits.resize(count * block.rows);
      for (std::size_t i = 0; i < count; ++i) {
        const auto from = std::clamp<std::int64_t>(
            static_cast<std::int64_t>(wanted[begin + i].token) + spec_.head.row_offset, 0,
            std::ssize(tokens_) - 1);
        std::copy_n(&act_.normed[static_cast<std::size_t>(from) * hidden], hidden,
                    &rows[i * hidden]);
      }
      std::span<const Real> x = as_read(Operand::kHead, 0, rows, hidden);
      pack(x, hidden);
      matmul(x, {{block, {}, logits.data(), block.rows}});
      finish_logits(logits);
      for (std::size_t i = 0; i < count; ++i) {
        const Row& row = wanted[begin + i];
        const Real* values = &logits[i * block.rows];
        const std::size_t position = tokens_[row.token].position;
        if (row.records != nullptr && row.records->recorder != nullptr) {
          row.records->recorder->columns(Tap::kLogits, 0, static_cast<std::int64_t>(position),
                                         static_cast<std::int64_t>(first),
                                         static_cast<std::int64_t>(block.rows), values);
        }
        if (row.records != nullptr && row.records->exchange != nullptr) {
          row.records->exchange->logits(position, first, block.rows, values);
        }
        if (row.last != nullptr) std::copy_n(values, block.rows, row.last + first);
      }
    }
  });
}

// out = x w^T + bias of each projection, for as many rows as x has.
template <class N>
void ForwardPass<N>::linear(std::span<const Real> x,
                            std::initializer_list<Projection> projections) {
  pack(x, projections.begin()->w.cols);
  if (!model_.stream) {
    matmul(x, projections);
    return store(projections, x.size() / projections.begin()->w.cols);
  }
  for (const Projection& p : projections) {
    for_each_block(p.w, [&](const Weight& block, std::size_t row) {
      matmul(x, {{block, p.bias, p.out + row, p.ldo, row}});
    });
  }
}

template <class N>
typename ForwardPass<N>::Projection ForwardPass<N>::onto(const Weight& w, const Weight& bias,
                                                         std::span<Real> out) {
  return {w, bias, out.data(), w.rows};
}

// Lays many tokens out for the matmuls that follow; few are taken as they are.
template <class N>
void ForwardPass<N>::pack(std::span<const Real> x, std::size_t cols) {
  const std::size_t tokens = x.size() / cols;
  dots_ = &kernels_for(x.data(), x.size());
  if (tokens <= kFewTokens) return;
  packed_.resize(packed_size(tokens, cols));
  pool_.for_each_item(dots_->tiles(tokens), [&](std::size_t tile) {
    dots_->pack_tile(x.data(), tokens, cols, tile, packed_.data());
  });
}

template <class N>
const Kernels<N>& ForwardPass<N>::kernels_for(const Real* x, std::size_t n) const {
  if constexpr (std::is_same_v<N, Bf16>) {
    const bool others = spec_.store != Store::kOwn || chunks_.front().exchange != nullptr;
    if (others && !on_bf16_grid(x, n)) return kernels_.any_operands();
  }
  return kernels_;
}

// Of x as pack() has it, with matrices of as many columns: their rows are shared together.
template <class N>
void ForwardPass<N>::matmul(std::span<const Real> x,
                            std::initializer_list<Projection> projections) {
  const std::size_t cols = projections.begin()->w.cols;
  const std::size_t tokens = x.size() / cols;
  std::size_t rows = 0;
  for (const Projection& p : projections) rows += p.w.rows;
  // Parts small enough that a thread which is held up leaves work to the others, of whole panels.
  const auto threads = static_cast<std::size_t>(pool_.size());
  const std::size_t part = std::clamp<std::size_t>(rows / (8 * threads) / 64 * 64, 64, 1152);
  const auto parts_of = [part](const Projection& p) { return (p.w.rows + part - 1) / part; };
  std::size_t parts = 0;
  for (const Projection& p : projections) parts += parts_of(p);
  // Rows of all projections follow each other in it.
  std::vector<Real> biases;
  for (const Projection& p : projections) {
    if (p.bias.data == nullptr) continue;
    if (biases.empty()) biases.resize(rows);
    std::vector<Real> whole(p.bias.cols);
    kernels_.load_row(p.bias, 0, whole.data());
    std::size_t before = 0;
    for (const Projection* q = projections.begin(); q != &p; ++q) before += q->w.rows;
    std::copy_n(whole.begin() + static_cast<std::ptrdiff_t>(p.first_row), p.w.rows,
                biases.begin() + static_cast<std::ptrdiff_t>(before));
  }
  const bool many = tokens > kFewTokens;
  const auto kernel = many ? dots_->packed_matmul : dots_->matmul;
  const Real* from = many ? packed_.data() : x.data();
  pool_.share_items(parts, rows * cols * tokens / kGrain + 1, [&](std::size_t i, int) {
    const Projection* p = projections.begin();
    std::size_t before = 0;
    for (; i >= parts_of(*p); ++p) {
      i -= parts_of(*p);
      before += p->w.rows;
    }
    const Real* bias = p->bias.data == nullptr ? nullptr : &biases[before];
    kernel(from, tokens, p->w, bias, i * part, std::min((i + 1) * part, p->w.rows), p->out, p->ldo);
  });
}

// heads: how many consecutive rows of w.cols are normalised as one; parts: into how many each is
// cut.
template <class N>
void ForwardPass<N>::rms_norm(const NormSpec& norm, std::span<const Real> x, const Weight& w,
                              std::span<Real> out, std::size_t heads, std::size_t parts) {
  if (!is_plain(norm) || heads * parts != 1 || spec_.store != Store::kOwn) {
    return variant_norm(norm, x, w, out, heads, parts);
  }
  const auto eps = static_cast<Real>(spec_.rms_norm_eps);
  const NormForm form = norm.one_plus       ? NormForm::kOnePlus
                        : norm.rounded_once ? NormForm::kRoundedOnce
                                            : NormForm::kRoundedTwice;
  pool_.parallel_for(x.size() / w.cols, kGrain / w.cols + 1,
                     [&](std::size_t begin, std::size_t end) {
                       for (std::size_t i = begin * w.cols; i < end * w.cols; i += w.cols) {
                         kernels_.rms_norm(&x[i], w, eps, form, w.cols, &out[i]);
                       }
                     });
}

template <class N>
void ForwardPass<N>::norm(Tap at, std::int64_t l, const NormSpec& norm, std::span<const Real> x,
                          const Weight& w, std::span<Real> out) {
  rms_norm(norm, x, w, out);
  tap(at, l, out);
}

template <class N>
void ForwardPass<N>::append_to_cache(std::size_t l) {
  // Nobody else reads queries, keys and values from here on.
  if (Exchange<Real>* exchange = chunks_.front().exchange) {
    const auto width = static_cast<std::size_t>(spec_.head_dim);
    const auto give = [&](Operand operand, std::span<Real> x) {
      exchange->operand(operand, static_cast<std::int64_t>(l), x.size() / width, width, x.data());
    };
    give(Operand::kQueries, act_.q);
    give(Operand::kKeys, act_.k);
    give(Operand::kValues, act_.v);
  }
  const auto heads = static_cast<std::size_t>(spec_.num_key_value_heads);
  const auto head_dim = static_cast<std::size_t>(spec_.head_dim);
  pool_.parallel_for(
      tokens_.size(), kGrain / (heads * head_dim) + 1, [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin * heads; i < end * heads; ++i) {
          const Token& token = tokens_[i / heads];
          chunks_[token.chunk].cache->put(l, i % heads, token.position, &act_.k[i * head_dim],
                                          &act_.v[i * head_dim]);
        }
      });
}

template <class N>
void ForwardPass<N>::activation(std::span<const Real> gate, std::span<Real> up) {
  const bool plain = spec_.mlp.on == MlpSpec::On::kGate && spec_.store == Store::kOwn;
  pool_.parallel_for(gate.size(), kGrain / 8, [&](std::size_t begin, std::size_t end) {
    if (plain && spec_.mlp.activation == Activation::kSilu) {
      kernels_.silu_mul(&gate[begin], &up[begin], end - begin, &up[begin]);
    } else if (plain && spec_.mlp.activation == Activation::kGeluTanh) {
      kernels_.gelu_tanh_mul(&gate[begin], &up[begin], end - begin, &up[begin]);
    } else {
      variant_activation<N>(spec_.mlp, spec_.store, &gate[begin], &up[begin], end - begin,
                            &up[begin]);
    }
  });
}

template <class N>
void ForwardPass<N>::add(Residual from, std::span<const Real> block, std::span<Real> hidden) {
  std::span<const Real> stream = from == Residual::kNormed       ? act_.normed
                                 : from == Residual::kLayerInput ? act_.layer_input
                                                                 : hidden;
  pool_.parallel_for(hidden.size(), kGrain, [&](std::size_t begin, std::size_t end) {
    if (from == Residual::kNone) {
      std::copy(&block[begin], &block[begin] + (end - begin), &hidden[begin]);
    } else {
      kernels_.add(&stream[begin], &block[begin], end - begin, &hidden[begin]);
    }
  });
  if (spec_.store != Store::kOwn) store(hidden.data(), hidden.size());
}

template <class N>
void ForwardPass<N>::tap(Tap tap, std::int64_t l, std::span<Real> values) {
  const std::size_t width = values.size() / tokens_.size();
  std::size_t t = 0;
  for (const Chunk<N>& chunk : chunks_) {
    if (chunk.recorder != nullptr && chunk.recorder->wants(tap, l)) {
      chunk.recorder->rows(tap, l, static_cast<std::int64_t>(chunk.cache->length()),
                           static_cast<std::int64_t>(chunk.ids.size()), &values[t * width]);
    }
    if (chunk.exchange != nullptr) {
      chunk.exchange->rows(tap, l, chunk.ids.size(), width, &values[t * width]);
    }
    t += chunk.ids.size();
  }
}

template <class N>
std::span<const typename N::Real> ForwardPass<N>::as_read(Operand operand, std::int64_t l,
                                                          std::span<const Real> x,
                                                          std::size_t width) {
  Exchange<Real>* exchange = chunks_.front().exchange;  // which comes with a chunk that is alone
  if (exchange == nullptr) return x;
  act_.operand.assign(x.begin(), x.end());
  exchange->operand(operand, l, x.size() / width, width, act_.operand.data());
  return act_.operand;
}

template <class Real>
void Activations<Real>::resize(const ModelSpec& spec, std::size_t tokens) {
  for (AlignedVector<Real>* buffer : {&hidden, &normed, &block}) {
    buffer->resize(tokens * static_cast<std::size_t>(spec.hidden_size));
  }
}

// What was there is forgotten.
template <class Real>
std::span<Real> Activations<Real>::memory(std::size_t size) {
  if (shared.size() < size) {
    shared = {};
    shared.resize(size);
  }
  return std::span(shared).first(size);
}

template <class Real>
void Activations<Real>::begin_attention(const ModelSpec& spec, std::size_t tokens) {
  const std::size_t q_size = tokens * static_cast<std::size_t>(spec.q_size());
  const std::size_t kv_size = tokens * static_cast<std::size_t>(spec.kv_size());
  const std::span<Real> all = memory(2 * (q_size + kv_size));
  q = all.subspan(0, q_size);
  context = all.subspan(q_size, q_size);
  k = all.subspan(2 * q_size, kv_size);
  v = all.subspan(2 * q_size + kv_size, kv_size);
  gate = up = {};
}

template <class Real>
void Activations<Real>::begin_mlp(std::size_t rows, std::size_t width) {
  const std::span<Real> all = memory(2 * rows * width);
  gate = all.subspan(0, rows * width);
  up = all.subspan(rows * width, rows * width);
  q = context = k = v = {};
}

template class ForwardPass<Bf16>;
template class ForwardPass<F32>;
template class ForwardPass<F64>;

}  // namespace assay
