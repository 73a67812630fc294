#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <variant>

#include "diagnose/catalog_list.h"

namespace assay {
namespace {

// Applies the change to the attention of every layer.
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

// Scales the scores of each layer by a function of its head_dim.
template <class Scale>
auto scale_by(Scale scale) {
  return [scale](Hypothesis& h) {
    for (Block& layer : h.program.layers) {
      AttentionEdit attention(layer);
      if (!attention) continue;
      const ValueId queries = layer.steps[*attention_step(layer)].reads[0];
      attention->scores.scale = scale(static_cast<double>(layer.values[queries].shape.back()));
    }
  };
}

std::vector<Variant> other_scale(const Circumstances& at) {
  std::vector<Variant> all;
  const double own = at.spec.attention_scale();
  const auto add = [&](std::string text, auto scale) {
    if (std::abs(scale(static_cast<double>(at.spec.head_dim)) / own - 1) < 1e-9) return;
    all.push_back({std::move(text), scale_by(scale)});
  };
  const auto root = [](double n) { return [n](double) { return 1 / std::sqrt(n); }; };
  add("not scaled", [](double) { return 1.0; });
  add("1/sqrt(head_dim)", [](double d) { return 1 / std::sqrt(d); });
  add("1/head_dim (scaled twice)", [](double d) { return 1 / d; });
  const auto share =
      static_cast<double>(at.spec.hidden_size) / static_cast<double>(at.spec.num_attention_heads);
  add("1/sqrt(hidden_size / num_attention_heads)", root(share));
  add("1/sqrt(hidden_size)", root(static_cast<double>(at.spec.hidden_size)));
  add("sqrt(head_dim), multiplied instead of divided", [](double d) { return std::sqrt(d); });
  add("1/sqrt(head_dim / 2)", [](double d) { return 1 / std::sqrt(d / 2); });
  add("1/sqrt(2 head_dim)", [](double d) { return 1 / std::sqrt(2 * d); });
  return all;
}

// Applies change(layer, step) to the step of each layer that lets queries grow.
template <class Change>
auto growth(Change change) {
  return [change](Hypothesis& h) {
    for (Block& layer : h.program.layers) {
      const auto step = std::ranges::find_if(layer.steps, [](const Step& s) {
        return std::holds_alternative<ScaleByPosition>(s.operation);
      });
      if (step == layer.steps.end()) continue;
      change(layer, static_cast<std::size_t>(step - layer.steps.begin()));
    }
  };
}

// Only for models whose queries grow, in prompts so long that they do.
std::vector<Variant> other_growth(const Circumstances& at) {
  if (at.spec.attention.growth == 0 ||
      static_cast<double>(at.positions) <= at.spec.attention.growth_length) {
    return {};
  }
  const auto of = [](Block& layer, std::size_t step) -> ScaleByPosition& {
    return std::get<ScaleByPosition>(layer.steps[step].operation);
  };
  return {{"left out", growth(leave_out)},
          {"without llama_4_scaling_beta",
           growth([of](Block& layer, std::size_t step) { of(layer, step).growth = 1; })},
          {"of the keys too", growth([of](Block& layer, std::size_t step) {
             before_shown(layer, Tap::kKRope, of(layer, step));
           })},
          {"of the keys instead", growth([of](Block& layer, std::size_t step) {
             const ScaleByPosition scale = of(layer, step);
             leave_out(layer, step);
             before_shown(layer, Tap::kKRope, scale);
           })}};
}

auto mask_variant(std::string detail, Mask mask, std::int64_t offset) {
  return Variant{std::move(detail), attention([mask, offset](OddAttention& a) {
                   a.mask = mask;
                   a.mask_offset = offset;
                 })};
}

// The mistake begins where decoding does: at the first position with an error, or one before it.
// make(from, amount) returns the change.
template <class Make>
std::vector<Variant> in_decode(const Circumstances& at, const Make& make,
                               const std::vector<std::int64_t>& amounts, std::int64_t before) {
  const std::int64_t first =
      at.survey ? at.positions / 2 + before : at.first_bad_position.value_or(0);
  const std::int64_t from = first - before;
  std::vector<Variant> all;
  for (const std::int64_t amount : amounts) {
    const std::string by = amount != 0 ? fmt::format("by {:+} ", amount) : "";
    if (at.decodes_after_several) {
      all.push_back({fmt::format("{}after the prompt", by), make(kAfterPrompt, amount)});
    }
    if (from < 1 && !at.survey) continue;
    all.push_back({fmt::format("{}from position {} on", by, from), make(from, amount)});
  }
  return all;
}

// Mistakes in the cache, or in which of it is seen.
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

// Only for models with windows.
std::vector<Variant> other_windows(const Circumstances& at) {
  const std::int64_t own = at.spec.attention.window;
  if (own == 0) return {};
  std::vector<Variant> all;
  // A window longer than any sequence, not 0, so that sliding layers stay sliding.
  all.push_back({"left out", [](Hypothesis& h) {
                   change_window(h.program, std::numeric_limits<std::int32_t>::max());
                 }});
  std::vector<std::int64_t> others = {own + 1, own - 1};
  // A shorter window hides positions from the first error on.
  if (at.first_bad_position && std::abs(*at.first_bad_position - own) > 1) {
    others.push_back(*at.first_bad_position);
  }
  for (Variant& variant : decode(DecodeFault::kNoWindow)(at)) {
    all.push_back({"left out " + variant.detail, std::move(variant.apply)});
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

std::vector<Variant> other_sinks(const Circumstances& at) {
  if (!at.spec.attention.sinks) return {};
  const auto with = [](OwnSinks use) {
    return attention([use](OddAttention& a) { a.own_sinks = use; });
  };
  return {{"left out", with(OwnSinks::kLeftOut)},
          {"their probability given to the first key", with(OwnSinks::kOnFirstKey)}};
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
  return {{"int8, one scale per row", attention([](OddAttention& a) { a.cache = DType::kI8; })},
          {"FP8 E4M3", attention([](OddAttention& a) { a.cache = DType::kF8E4M3; })}};
}

// Mistakes in the positions of decoded tokens.
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
  all.push_back(
      {.id = "attn-scale",
       .group = "attention",
       .name = "attention scores scaled wrongly",
       .explanation = "The factor of the scores is not 1/sqrt(head_dim) (Gemma: "
                      "1/sqrt(query_pre_attn_scalar)).",
       .look_at = "the scale, and whether head_dim is the config's or hidden_size / heads",
       .frequency = 3,
       .variants = other_scale});
  all.push_back(
      {.id = "gqa-map",
       .group = "attention",
       .name = "query heads read the wrong key/value heads",
       .explanation = "Query head h reads key/value head h % n instead of h / (heads / n): "
                      "consecutive query heads share one.",
       .look_at = "repeat_kv (interleave or tile), or the head index in the kernel",
       .frequency = 3,
       .variants = with_groups(attention([](OddAttention& a) { a.modulo_heads = true; }))});
  all.push_back(
      {.id = "gqa-map-keys",
       .group = "attention",
       .name = "query heads read the wrong key heads",
       .explanation = "Like gqa-map, but only for keys: values are read from the right heads.",
       .look_at = "repeat_kv of the keys",
       .variants = with_groups(attention([](OddAttention& a) { a.keys_modulo = true; }))});
  all.push_back({.id = "heads-merge",
                 .group = "attention",
                 .name = "heads joined without transposing",
                 .explanation = "o_proj reads the context as [tokens, heads * head_dim], but it is "
                                "stored as [heads, tokens, head_dim].",
                 .look_at = "the transpose before o_proj",
                 .frequency = 2,
                 .variants = always(attention([](OddAttention& a) { a.joins_heads = false; }))});
  all.push_back({.id = "mask-missing",
                 .group = "attention",
                 .name = "no causal mask",
                 .explanation =
                     "Every position sees the later ones. The last position is right in the first "
                     "layer.",
                 .look_at = "is_causal, and the mask when a whole prompt is run at once",
                 .frequency = 3,
                 .variants = always(attention([](OddAttention& a) { a.mask = Mask::kNone; }))});
  all.push_back({.id = "mask-off-by-one",
                 .group = "attention",
                 .name = "causal mask off by one",
                 .explanation = "A position sees the next one, or does not see itself.",
                 .look_at = "<= or < where the mask is made; the offset of the diagonal",
                 .frequency = 2,
                 .variants = [](const Circumstances&) -> std::vector<Variant> {
                   return {mask_variant("sees the next position", Mask::kCausal, 1),
                           mask_variant("does not see itself", Mask::kCausal, -1)};
                 }});
  all.push_back(
      {.id = "mask-zero",
       .group = "attention",
       .name = "masked scores are 0",
       .explanation =
           "The mask multiplies the scores, or adds 0: masked positions take part with score 0.",
       .look_at = "the value that the mask inserts, and its type",
       .frequency = 2,
       .variants = always(attention([](OddAttention& a) { a.mask = Mask::kZero; }))});
  all.push_back(
      {.id = "mask-after-softmax",
       .group = "attention",
       .name = "mask applied after softmax",
       .explanation =
           "Probabilities of masked positions are dropped, and the others are not renormalised.",
       .look_at = "the order of mask and softmax",
       .variants = always(attention([](OddAttention& a) { a.mask = Mask::kAfterSoftmax; }))});
  all.push_back({.id = "sliding-window",
                 .group = "attention",
                 .name = "a sliding window that the model does not have",
                 .explanation = "Positions further back than the window are hidden.",
                 .look_at = "use_sliding_window (false here) and sliding_window",
                 .frequency = 3,
                 .variants = windows});
  all.push_back({.id = "window-wrong",
                 .group = "attention",
                 .name = "wrong sliding window",
                 .explanation =
                     "In this model's sliding layers a position sees sliding_window positions, "
                     "including its own. Only longer prompts show the mistake.",
                 .look_at = "sliding_window (< or <=), and which layers have it (layer_types)",
                 .frequency = 3,
                 .variants = other_windows});
  all.push_back({.id = "softmax-wrong-axis",
                 .group = "attention",
                 .name = "softmax over the queries",
                 .explanation = "The columns of the probabilities add up to 1, not the rows.",
                 .look_at = "the axis of softmax",
                 .variants = always(attention([](OddAttention& a) { a.over_queries = true; }))});
  all.push_back(
      {.id = "softmax-lowp",
       .group = "attention",
       .name = "softmax in low precision",
       .explanation =
           "Exponentials and their sum are rounded to 16 bits; transformers computes softmax "
           "in FP32.",
       .look_at = "the type of the scores when softmax is called",
       .frequency = 2,
       .rounding = true,
       .variants = low_softmax});
  all.push_back({.id = "softmax-plus-one",
                 .group = "attention",
                 .name = "an attention sink in the softmax",
                 .explanation = "There is one more score, which belongs to no position; if it is "
                                "0, it adds 1 to the denominator.",
                 .look_at = "softmax variants: off by one, attention sinks",
                 .variants = [](const Circumstances& at) {
                   if (at.spec.attention.sinks) return std::vector<Variant>{};
                   return only(attention([](OddAttention& a) { a.sinks = {0}; }));
                 }});
  all.push_back({.id = "attn-temperature",
                 .group = "attention",
                 .name = "wrong attention temperature",
                 .explanation = "Queries are multiplied by 1 + beta * log(1 + floor(p / length)), "
                                "which is 1 below the original context length. Only longer prompts "
                                "show the mistake.",
                 .look_at = "llama_4_scaling_beta and original_max_position_embeddings in "
                            "rope_parameters",
                 .frequency = 3,
                 .variants = other_growth});
  all.push_back({.id = "sinks-missing",
                 .group = "attention",
                 .name = "attention sinks not used as sinks",
                 .explanation = "Each head's softmax has one more score, its sink, which takes a "
                                "part of the probability and has no value.",
                 .look_at = "self_attn.sinks; fused attention kernels may not support them",
                 .frequency = 3,
                 .variants = other_sinks});
  all.push_back(
      {.id = "attn-softcap",
       .group = "attention",
       .name = "attention scores capped",
       .explanation =
           "cap * tanh(score / cap) is applied, as in Gemma 2; this model does not have it.",
       .look_at = "attn_logit_softcapping and its default",
       .variants = softcaps});
  all.push_back(
      {.id = "attn-softcap-missing",
       .group = "attention",
       .name = "wrong cap on the attention scores",
       .explanation = "This model's scores pass through cap * tanh(score / cap) before the mask.",
       .look_at = "attn_logit_softcapping; fused attention kernels may not support it",
       .frequency = 3,
       .variants = other_softcap});
  all.push_back({.id = "kv-quant",
                 .group = "cache",
                 .name = "KV cache in 8 bits",
                 .explanation = "Keys and values are rounded to 8 bits when they are stored.",
                 .look_at = "the cache's type and scales",
                 .frequency = 2,
                 .variants = low_cache});
  all.push_back(
      {.id = "pos-decode",
       .group = "cache",
       .name = "wrong position in decode",
       .explanation =
           "The positions of decoded tokens are off by a constant; the prompt's are right.",
       .look_at = "what counts positions after prefill (cache length before or after the append)",
       .frequency = 3,
       .variants = decode_positions(false, {1, -1, 2}, 0)});
  all.push_back({.id = "pos-stuck",
                 .group = "cache",
                 .name = "position does not advance in decode",
                 .explanation = "All decoded tokens have the position of the first one.",
                 .look_at = "whether the position is incremented for each token",
                 .frequency = 2,
                 .variants = decode_positions(true, {0}, 1)});
  all.push_back({.id = "kv-not-read",
                 .group = "cache",
                 .name = "decode does not read the cache",
                 .explanation = "A decoded token sees only itself.",
                 .look_at = "what keys and values attention gets in decode",
                 .frequency = 2,
                 .variants = decode(DecodeFault::kAlone)});
  all.push_back({.id = "mask-alignment",
                 .group = "cache",
                 .name = "mask aligned to the wrong corner in decode",
                 .explanation = "With one query and many keys the causal mask begins at the top "
                                "left: a decoded token sees only position 0.",
                 .look_at = "is_causal with fewer queries than keys",
                 .frequency = 3,
                 .variants = decode(DecodeFault::kFirstOnly)});
  all.push_back({.id = "kv-late",
                 .group = "cache",
                 .name = "token's own key not in the cache yet",
                 .explanation = "Attention runs before the token's key and value are appended, or "
                                "with a length that is 1 too short.",
                 .look_at = "the order of append and attention, and the length passed on",
                 .frequency = 2,
                 .variants = decode(DecodeFault::kNotItself)});
  all.push_back(
      {.id = "kv-slot",
       .group = "cache",
       .name = "cache written to the wrong slot",
       .explanation = "Decoded keys and values are stored one slot too late or too early.",
       .look_at = "the index at which the cache is written in decode",
       .frequency = 2,
       .variants = decode(DecodeFault::kSlot, {1, -1})});
  all.push_back({.id = "kv-unrotated",
                 .group = "cache",
                 .name = "keys cached before RoPE",
                 .explanation = "In decode the prompt's keys are read without their rotation.",
                 .look_at = "whether keys are stored before or after the rotary embedding",
                 .frequency = 2,
                 .variants = decode(DecodeFault::kNotRotated)});
  all.push_back(
      {.id = "kv-rerotated",
       .group = "cache",
       .name = "cached keys rotated again",
       .explanation = "In decode the prompt's keys are rotated twice.",
       .look_at = "whether the cache holds rotated keys, and whether they are rotated when read",
       .frequency = 2,
       .variants = decode(DecodeFault::kRotatedAgain)});
  return all;
}

}  // namespace assay
