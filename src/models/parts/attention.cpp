#include "models/parts/attention.h"

#include <optional>
#include <string>
#include <utility>

namespace assay {
namespace {

// What attention reads: queries [heads, head_dim], keys and values. Without keys and values of its
// own, a layer has only queries.
struct QueriesKeysValues {
  ValueId q = 0, k = 0, v = 0;
};

// One linear step for all projections. With an output gate, q_proj has each head's query followed
// by its gate.
QueriesKeysValues projections(Builder& b, ValueId x, const AttentionTensors& names,
                              const Heads& heads, bool own_keys) {
  const ModelSpec& s = b.spec();
  const bool gated = s.attention.gated;
  std::vector<TensorUse> tensors;
  Value q = {{heads.queries, heads.head_dim}, Tap::kQProj};
  if (gated) q = {{heads.queries, 2 * heads.head_dim}, std::nullopt};
  std::vector<Value> values = {std::move(q)};
  if (!names.fused.empty()) {
    std::int64_t first = 0;
    const std::int64_t all = heads.q_size() + 2 * heads.kv_size();
    for (const std::int64_t rows : {heads.q_size(), heads.kv_size(), heads.kv_size()}) {
      TensorUse part = b.matrix("self_attn." + std::string(names.fused), rows, s.hidden_size);
      part.first = first;
      part.stored = all;
      tensors.push_back(std::move(part));
      first += rows;
    }
  }
  const auto project = [&](const std::string& name, std::int64_t rows) {
    if (!names.fused.empty()) return;
    tensors.push_back(b.matrix(name, rows, s.hidden_size));
    if (s.qkv_bias) tensors.push_back(b.bias(name, rows));
  };
  project("self_attn.q_proj", gated ? 2 * heads.q_size() : heads.q_size());
  if (own_keys) {
    project("self_attn.k_proj", heads.kv_size());
    values.push_back({{heads.keys, heads.head_dim}, Tap::kKProj});
    if (!heads.keys_are_values) {
      project("self_attn.v_proj", heads.kv_size());
      values.push_back({{heads.keys, heads.head_dim}, Tap::kVProj});
    }
  }
  const std::vector<ValueId> made = b.steps(Linear{}, {x}, std::move(values), std::move(tensors));
  return {made.front(), own_keys ? made[1] : 0, own_keys ? made.back() : 0};
}

}  // namespace

ValueId attention(Builder& b, ValueId x, const AttentionTensors& tensors) {
  const ModelSpec& s = b.spec();
  const Heads heads = s.heads(b.layer());
  const std::optional<std::int64_t> source = s.kv_source(b.layer());
  auto [q, k, v] = projections(b, x, tensors, heads, !source);
  ValueId gate = 0;
  if (s.attention.gated) {
    const std::vector<ValueId> parts = b.steps(
        Unpack{heads.queries, {heads.head_dim, heads.head_dim}, {0, 1}}, {q},
        {{{heads.queries, heads.head_dim}, Tap::kQProj}, {{heads.q_size()}, Tap::kAttnGate}});
    q = parts[0];
    gate = parts[1];
  }
  if (s.qk_norm) {
    const bool all = s.qk_norms.full_width;
    const auto norm = [&](ValueId y, std::string_view name, std::int64_t width, Tap tap) {
      return b.norm(y, b.vector(name, all ? width : heads.head_dim), tap);
    };
    q = norm(q, "self_attn.q_norm", heads.q_size(), Tap::kQNorm);
    if (!source) k = norm(k, "self_attn.k_norm", heads.kv_size(), Tap::kKNorm);
  }
  const bool normalises_values = s.attention.v_norm;
  if (normalises_values && !source) v = b.bare_norm(v, heads.head_dim, Tap::kVNorm);
  const bool sliding = s.is_sliding(b.layer());
  const std::size_t table = s.rope_table(b.layer());
  const Rotate rotate{table, s.rotary_dims(table), s.rope.rounded_once};
  q = b.step(rotate, {q}, {{heads.queries, heads.head_dim}, Tap::kQRope});
  if (s.attention.growth != 0) {
    q = b.step(ScaleByPosition{s.attention.growth, s.attention.growth_length}, {q},
               {{heads.queries, heads.head_dim}, std::nullopt});
  }
  if (source) {
    k = b.import({Tap::kKRope, *source}, {heads.keys, heads.head_dim});
    v = b.import({normalises_values ? Tap::kVNorm : Tap::kVProj, *source},
                 {heads.keys, heads.head_dim});
  } else {
    k = b.step(rotate, {k}, {{heads.keys, heads.head_dim}, Tap::kKRope});
  }
  const ValueId scores =
      b.step(Scores{s.attention_scale(), s.attention.softcap, sliding ? s.attention.window : 0},
             {q, k}, {{heads.queries}, Tap::kAttnScores, true});
  std::vector<TensorUse> sinks;
  if (s.attention.sinks) sinks.push_back(b.named("self_attn.sinks", heads.queries));
  const ValueId probs = b.step(Softmax{s.attention.sinks}, {scores},
                               {{heads.queries}, Tap::kAttnProbs, true}, std::move(sinks));
  ValueId context = b.step(Context{}, {probs, v}, {{heads.q_size()}, Tap::kAttnContext});
  if (s.attention.gated) {
    context = b.step(SigmoidGate{}, {context, gate}, {{heads.q_size()}, Tap::kAttnGated});
  }
  std::vector<TensorUse> o = {b.matrix("self_attn.o_proj", s.hidden_size, heads.q_size())};
  if (s.o_bias) o.push_back(b.bias("self_attn.o_proj", s.hidden_size));
  return b.step(Linear{}, {context}, {{s.hidden_size}, Tap::kAttnOutput}, std::move(o));
}

}  // namespace assay
