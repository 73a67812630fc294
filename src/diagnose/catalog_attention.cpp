#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <limits>

#include "diagnose/catalog_list.h"

namespace assay {
namespace {

// The attention of every layer, changed.
template <class Change>
auto attention(Change change) {
  return [change](Hypothesis& h) { change_attention(h.program, change); };
}

template <class Apply>
auto with_groups(Apply apply) {
  return [apply](const Circumstances& at) {
    return at.spec.num_key_value_heads > 1 &&
                   at.spec.num_attention_heads > at.spec.num_key_value_heads
               ? only(apply)
               : std::vector<Variant>{};
  };
}

std::vector<Variant> other_scale(const Circumstances& at) {
  std::vector<Variant> all;
  const auto d = static_cast<double>(at.spec.head_dim);
  const double own = at.spec.attention.scale != 0 ? at.spec.attention.scale : 1 / std::sqrt(d);
  const auto add = [&](std::string text, double scale) {
    if (std::abs(scale / own - 1) < 1e-9) return;
    all.push_back(
        {std::move(text), attention([scale](OddAttention& a) { a.scores.scale = scale; })});
  };
  add("not scaled", 1);
  add("1/sqrt(head_dim)", 1 / std::sqrt(d));
  add("1/head_dim (scaled twice)", 1 / d);
  const auto share =
      static_cast<double>(at.spec.hidden_size) / static_cast<double>(at.spec.num_attention_heads);
  add("1/sqrt(hidden_size / num_attention_heads)", 1 / std::sqrt(share));
  add("1/sqrt(hidden_size)", 1 / std::sqrt(static_cast<double>(at.spec.hidden_size)));
  add("sqrt(head_dim), multiplied and not divided", std::sqrt(d));
  add("1/sqrt(head_dim / 2)", 1 / std::sqrt(d / 2));
  add("1/sqrt(2 head_dim)", 1 / std::sqrt(2 * d));
  return all;
}

auto mask_variant(std::string detail, Mask mask, std::int64_t offset) {
  return Variant{std::move(detail), attention([mask, offset](OddAttention& a) {
                   a.mask = mask;
                   a.mask_offset = offset;
                 })};
}

// Of a model that has windows.
std::vector<Variant> other_windows(const Circumstances& at) {
  const std::int64_t own = at.spec.attention.window;
  if (own == 0) return {};
  std::vector<Variant> all;
  // Longer than any sequence, and not 0: sliding layers stay such.
  all.push_back({"left out", [](Hypothesis& h) {
                   change_window(h.program, std::numeric_limits<std::int32_t>::max());
                 }});
  std::vector<std::int64_t> others = {own + 1, own - 1};
  // A shorter one hides something from there on.
  if (at.first_bad_position && std::abs(*at.first_bad_position - own) > 1) {
    others.push_back(*at.first_bad_position);
  }
  std::erase_if(others, [](std::int64_t w) { return w < 1; });
  for (const std::int64_t w : others) {
    all.push_back({fmt::format("of {} positions, not {}", w, own),
                   [w](Hypothesis& h) { change_window(h.program, w); }});
  }
  if (at.spec.sliding_layers.empty()) return all;
  const auto everywhere = [](std::int64_t w) {
    return [w](Hypothesis& h) { slide_in(h.program, w, [](std::int64_t) { return true; }); };
  };
  const auto elsewhere = [&at](std::int64_t w) {
    return [w, sliding = at.spec.sliding_layers](Hypothesis& h) {
      slide_in(h.program, w, [&](std::int64_t l) { return !ModelSpec::is_among(sliding, l); });
    };
  };
  all.push_back({"in all layers", everywhere(own)});
  all.push_back({"in the other layers", elsewhere(own)});
  for (const std::int64_t w : others) {
    const auto also = [&](std::string_view where, auto change) {
      all.push_back({fmt::format("of {} positions, not {}, and {}", w, own, where), change(w)});
    };
    also("in all layers", everywhere);
    also("in the other layers", elsewhere);
  }
  return all;
}

auto cap(double cap) {
  return attention([cap](OddAttention& a) { a.scores.cap = cap; });
}

std::vector<Variant> other_softcap(const Circumstances& at) {
  if (at.spec.attention.softcap == 0) return {};
  return {{"left out", cap(0)}, {"at 50", cap(50)}, {"at 30", cap(30)}};
}

std::vector<Variant> windows(const Circumstances& at) {
  std::vector<Variant> all;
  if (at.spec.attention.window > 0) return all;
  const auto add = [&](std::int64_t w) {
    all.push_back(
        {fmt::format("of {} positions", w), [w, layers = at.spec.sliding_layers](Hypothesis& h) {
           slide_in(h.program, w, [&](std::int64_t l) { return ModelSpec::is_among(layers, l); });
         }});
  };
  if (at.first_bad_position) add(*at.first_bad_position);
  for (const std::int64_t w : {128, 1024, 4096}) {
    if (at.survey) add(w);
  }
  return all;
}

std::vector<Variant> low_softmax(const Circumstances&) {
  return {{"in BF16", attention([](OddAttention& a) { a.softmax = DType::kBF16; })},
          {"in F16", attention([](OddAttention& a) { a.softmax = DType::kF16; })}};
}

std::vector<Variant> softcaps(const Circumstances& at) {
  std::vector<Variant> all;
  if (at.spec.attention.softcap > 0) return all;
  for (const double value : {50.0, 30.0, 20.0, 10.0}) {
    all.push_back({fmt::format("at {:g}", value), cap(value)});
  }
  return all;
}

std::vector<Variant> low_cache(const Circumstances&) {
  return {{"int8, a scale for each row", attention([](OddAttention& a) { a.cache = DType::kI8; })},
          {"FP8 E4M3", attention([](OddAttention& a) { a.cache = DType::kF8E4M3; })}};
}

// The fault begins where decoding does: at the first position with an error, or one before it.
// make(from, amount): the change.
template <class Make>
std::vector<Variant> in_decode(const Circumstances& at, const Make& make,
                               const std::vector<std::int64_t>& amounts, std::int64_t before) {
  const std::int64_t first =
      at.survey ? at.positions / 2 + before : at.first_bad_position.value_or(0);
  const std::int64_t from = first - before;
  if (from < 1 && !at.survey) return {};
  std::vector<Variant> all;
  for (const std::int64_t amount : amounts) {
    const std::string by = amount != 0 ? fmt::format("by {:+} ", amount) : "";
    all.push_back({fmt::format("{}from position {} on", by, from), make(from, amount)});
  }
  return all;
}

// Of the cache, or what is seen of it.
auto decode(DecodeFault fault, std::vector<std::int64_t> amounts = {0}) {
  return [fault, amounts = std::move(amounts)](const Circumstances& at) {
    const auto make = [fault](std::int64_t from, std::int64_t amount) {
      return [fault, from, amount](Hypothesis& h) {
        for (Block& layer : h.program.layers) {
          const std::optional<std::size_t> keys = layer.step_showing(Tap::kKRope);
          if (AttentionEdit a(layer); a) {
            a->decoding = {fault, from, amount};
            if (fault != DecodeFault::kRotatedAgain || !keys) continue;
            a->again = OddRotate::of(layer.steps[*keys].operation).value_or(OddRotate{});
          }
        }
      };
    };
    return in_decode(at, make, amounts, 0);
  };
}

// Of the positions that decoded tokens are rotated by.
auto decode_positions(bool stuck, std::vector<std::int64_t> amounts, std::int64_t before) {
  return [stuck, amounts = std::move(amounts), before](const Circumstances& at) {
    const auto make = [stuck](std::int64_t from, std::int64_t amount) {
      return [decoded = DecodedPositions{from, amount, stuck}](Hypothesis& h) {
        change_layers<OddRotate>(h.program, [&](OddRotate& r) { r.decoded = decoded; });
      };
    };
    return in_decode(at, make, amounts, before);
  };
}

}  // namespace

std::vector<Entry> attention_entries() {
  std::vector<Entry> all;
  all.push_back({"attn-scale", "attention", "attention scores scaled wrongly",
                 "The scores are multiplied by another factor than 1/sqrt(head_dim) (Gemma: "
                 "1/sqrt(query_pre_attn_scalar)).",
                 "the scale, and whether head_dim is the config's or hidden_size / heads", 3, false,
                 other_scale});
  all.push_back({"gqa-map", "attention", "query heads read the wrong key/value heads",
                 "Query head h reads key/value head h % n; grouped-query attention wants "
                 "h / (heads / n): each is repeated for consecutive query heads.",
                 "repeat_kv (interleave or tile), or the head index in the kernel", 3, false,
                 with_groups(attention([](OddAttention& a) { a.modulo_heads = true; }))});
  all.push_back({"gqa-map-keys", "attention", "query heads read the wrong key heads",
                 "As gqa-map, of keys alone: values are read from the right heads.",
                 "repeat_kv of the keys", 1, false,
                 with_groups(attention([](OddAttention& a) { a.keys_modulo = true; }))});
  all.push_back({"heads-merge", "attention", "heads joined without transposing",
                 "The context lies as [heads, tokens, head_dim] when o_proj reads it as [tokens, "
                 "heads * head_dim].",
                 "the transpose before o_proj", 2, false,
                 always(attention([](OddAttention& a) { a.joins_heads = false; }))});
  all.push_back({"mask-missing", "attention", "no causal mask",
                 "Every position sees the later ones. The last position is right in the first "
                 "layer.",
                 "is_causal, and the mask when a whole prompt is run at once", 3, false,
                 always(attention([](OddAttention& a) { a.mask = Mask::kNone; }))});
  all.push_back({"mask-off-by-one", "attention", "causal mask off by one",
                 "A position sees its successor, or not itself.",
                 "<= or < where the mask is made; the offset of the diagonal", 2, false,
                 [](const Circumstances&) -> std::vector<Variant> {
                   return {mask_variant("sees the next position", Mask::kCausal, 1),
                           mask_variant("does not see itself", Mask::kCausal, -1)};
                 }});
  all.push_back({"mask-zero", "attention", "hidden scores are 0",
                 "The mask multiplies the scores, or adds 0: what should be hidden takes part with "
                 "score 0.",
                 "the value that the mask puts in, and its type", 2, false,
                 always(attention([](OddAttention& a) { a.mask = Mask::kZero; }))});
  all.push_back({"mask-after-softmax", "attention", "mask applied after softmax",
                 "Probabilities of hidden positions are dropped, the others not scaled up again.",
                 "the order of mask and softmax", 1, false,
                 always(attention([](OddAttention& a) { a.mask = Mask::kAfterSoftmax; }))});
  all.push_back({"sliding-window", "attention", "a sliding window that the model has not",
                 "Positions further back than the window are hidden.",
                 "use_sliding_window (false here) and sliding_window", 3, false, windows});
  all.push_back({"window-wrong", "attention", "the sliding window is another",
                 "In this model's sliding layers a position sees sliding_window positions, its own "
                 "among them. Prompts that are not longer show nothing.",
                 "sliding_window (< or <=), and which layers it is for (layer_types)", 3, false,
                 other_windows});
  all.push_back({"softmax-wrong-axis", "attention", "softmax over the queries",
                 "The columns of the probabilities add up to 1, not the rows.", "softmax's axis", 1,
                 false, always(attention([](OddAttention& a) { a.over_queries = true; }))});
  all.push_back({"softmax-lowp", "attention", "softmax in low precision",
                 "Exponentials and their sum are rounded to 16 bits; transformers computes softmax "
                 "in FP32.",
                 "the type of the scores when softmax is called", 2, true, low_softmax});
  all.push_back({"softmax-plus-one", "attention", "a sink in the softmax",
                 "One more score belongs to no position; where it is 0, one is added to the "
                 "denominator.",
                 "softmax variants: off by one, attention sinks", 1, false,
                 always(attention([](OddAttention& a) { a.sink = true; }))});
  all.push_back({"attn-softcap", "attention", "attention scores capped",
                 "cap * tanh(score / cap) is applied, which Gemma 2 has and this model has not.",
                 "attn_logit_softcapping and its default", 1, false, softcaps});
  all.push_back(
      {"attn-softcap-missing", "attention", "attention scores not capped as they should be",
       "This model's scores pass through cap * tanh(score / cap) before the mask.",
       "attn_logit_softcapping; fused attention kernels may not know it", 3, false, other_softcap});
  all.push_back({"kv-quant", "cache", "KV cache in 8 bits",
                 "Keys and values lose bits when they are stored.", "the cache's type and scales",
                 2, false, low_cache});
  all.push_back(
      {"pos-decode", "cache", "wrong position in decode",
       "Decoded tokens are rotated by a position that is off by a constant; the prompt is "
       "right.",
       "what counts positions after prefill (cache length before or after the append)", 3, false,
       decode_positions(false, {1, -1, 2}, 0)});
  all.push_back({"pos-stuck", "cache", "position stands still in decode",
                 "All decoded tokens have the position of the first one.",
                 "whether the position is counted up for each token", 2, false,
                 decode_positions(true, {0}, 1)});
  all.push_back({"kv-not-read", "cache", "decode does not read the cache",
                 "A decoded token sees itself only.",
                 "what keys and values attention gets in decode", 2, false,
                 decode(DecodeFault::kAlone)});
  all.push_back({"mask-alignment", "cache", "mask aligned to the wrong corner in decode",
                 "With one query and many keys the causal mask begins at the top left: a decoded "
                 "token sees position 0 only.",
                 "is_causal with fewer queries than keys", 3, false,
                 decode(DecodeFault::kFirstOnly)});
  all.push_back({"kv-late", "cache", "token's own key not in the cache yet",
                 "Attention runs before the token's key and value are appended, or one position "
                 "short.",
                 "the order of append and attention, and the length passed on", 2, false,
                 decode(DecodeFault::kNotItself)});
  all.push_back({"kv-slot", "cache", "cache written at the wrong slot",
                 "Decoded keys and values are stored one slot too far or too near.",
                 "the index at which the cache is written in decode", 2, false,
                 decode(DecodeFault::kSlot, {1, -1})});
  all.push_back({"kv-unrotated", "cache", "keys cached before RoPE",
                 "In decode the prompt's keys are read without their rotation.",
                 "whether keys are stored before or after the rotary embedding", 2, false,
                 decode(DecodeFault::kNotRotated)});
  all.push_back({"kv-rerotated", "cache", "cached keys rotated again",
                 "In decode the prompt's keys are rotated a second time.",
                 "whether the cache holds rotated keys, and what is done on reading", 2, false,
                 decode(DecodeFault::kRotatedAgain)});
  return all;
}

}  // namespace assay
