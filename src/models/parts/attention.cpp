#include "models/parts/attention.h"

#include <string>

namespace assay {
namespace {

// One linear step for all three projections. With an output gate, q_proj has each head's query
// followed by its gate.
std::vector<ValueId> projections(Builder& b, ValueId x, const AttentionTensors& names) {
  const ModelSpec& s = b.spec();
  const bool gated = s.attention.gated;
  std::vector<TensorUse> tensors;
  if (!names.fused.empty()) {
    std::int64_t first = 0;
    const std::int64_t all = s.q_size() + 2 * s.kv_size();
    for (const std::int64_t rows : {s.q_size(), s.kv_size(), s.kv_size()}) {
      TensorUse part = b.matrix("self_attn." + std::string(names.fused), rows, s.hidden_size);
      part.first = first;
      part.stored = all;
      tensors.push_back(std::move(part));
      first += rows;
    }
  } else {
    const auto project = [&](const std::string& name, std::int64_t rows) {
      tensors.push_back(b.matrix(name, rows, s.hidden_size));
      if (s.qkv_bias) tensors.push_back(b.bias(name, rows));
    };
    project("self_attn.q_proj", gated ? 2 * s.q_size() : s.q_size());
    project("self_attn.k_proj", s.kv_size());
    project("self_attn.v_proj", s.kv_size());
  }
  Value q = {{s.num_attention_heads, s.head_dim}, Tap::kQProj};
  if (gated) q = {{s.num_attention_heads, 2 * s.head_dim}, std::nullopt};
  return b.steps(Linear{}, {x},
                 {std::move(q),
                  {{s.num_key_value_heads, s.head_dim}, Tap::kKProj},
                  {{s.num_key_value_heads, s.head_dim}, Tap::kVProj}},
                 std::move(tensors));
}

}  // namespace

ValueId attention(Builder& b, ValueId x, const AttentionTensors& tensors) {
  const ModelSpec& s = b.spec();
  const std::vector<ValueId> qkv = projections(b, x, tensors);
  ValueId q = qkv[0];
  ValueId k = qkv[1];
  ValueId gate = 0;
  if (s.attention.gated) {
    const std::vector<ValueId> parts = b.steps(
        Unpack{s.num_attention_heads, {s.head_dim, s.head_dim}, {0, 1}}, {q},
        {{{s.num_attention_heads, s.head_dim}, Tap::kQProj}, {{s.q_size()}, Tap::kAttnGate}});
    q = parts[0];
    gate = parts[1];
  }
  if (s.qk_norm) {
    const bool all = s.qk_norms.full_width;
    q = b.norm(q, b.vector("self_attn.q_norm", all ? s.q_size() : s.head_dim), Tap::kQNorm);
    k = b.norm(k, b.vector("self_attn.k_norm", all ? s.kv_size() : s.head_dim), Tap::kKNorm);
  }
  const bool sliding = s.is_sliding(b.layer());
  const std::size_t table = s.local_rope_parameters && sliding ? 1 : 0;
  const Rotate rotate{table, s.rotary_dims(), s.rope.rounded_once};
  q = b.step(rotate, {q}, {{s.num_attention_heads, s.head_dim}, Tap::kQRope});
  k = b.step(rotate, {k}, {{s.num_key_value_heads, s.head_dim}, Tap::kKRope});
  if (s.attention.growth != 0) {
    q = b.step(ScaleByPosition{s.attention.growth, s.attention.growth_length}, {q},
               {{s.num_attention_heads, s.head_dim}, std::nullopt});
  }
  const ValueId scores =
      b.step(Scores{s.attention_scale(), s.attention.softcap, sliding ? s.attention.window : 0},
             {q, k}, {{s.num_attention_heads}, Tap::kAttnScores, true});
  std::vector<TensorUse> sinks;
  if (s.attention.sinks) sinks.push_back(b.named("self_attn.sinks", s.num_attention_heads));
  const ValueId probs = b.step(Softmax{s.attention.sinks}, {scores},
                               {{s.num_attention_heads}, Tap::kAttnProbs, true}, std::move(sinks));
  ValueId context = b.step(Context{}, {probs, qkv[2]}, {{s.q_size()}, Tap::kAttnContext});
  if (s.attention.gated) {
    context = b.step(SigmoidGate{}, {context, gate}, {{s.q_size()}, Tap::kAttnGated});
  }
  std::vector<TensorUse> o = {b.matrix("self_attn.o_proj", s.hidden_size, s.q_size())};
  if (s.o_bias) o.push_back(b.bias("self_attn.o_proj", s.hidden_size));
  return b.step(Linear{}, {context}, {{s.hidden_size}, Tap::kAttnOutput}, std::move(o));
}

}  // namespace assay
