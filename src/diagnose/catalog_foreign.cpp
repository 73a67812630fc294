// The catalog: what only other models have (limits of values, biases of logits), and wrong rows of
// the embedding.
#include <fmt/format.h>

#include "diagnose/catalog_list.h"

namespace assay {
namespace {

// These are read off the candidate, so they can be listed only in a survey.
template <class List>
auto in_survey(List list) {
  return [list](const Circumstances& at) { return at.survey ? list(at) : std::vector<Variant>{}; };
}

std::vector<Variant> limits(const Circumstances&) {
  return {{"the stream after a layer at +-0.25",
           [](Hypothesis& h) { limit(h.program, Tap::kLayerOutput, -0.25, 0.25); }},
          {"gate and up at +-7", [](Hypothesis& h) {
             limit(h.program, Tap::kGateProj, -7, 7);
             limit(h.program, Tap::kUpProj, -7, 7);
           }}};
}

std::vector<Variant> jumps(const Circumstances& at) {
  Rotary rotary;
  for (std::int64_t p = 0; p < at.positions; ++p) {
    rotary.position_of.push_back(p < at.positions / 2 ? p : p + 8);
  }
  return {{fmt::format("by +8 from position {} on", at.positions / 2),
           [rotary](Hypothesis& h) { set_rotary(h.program, rotary); }}};
}

}  // namespace

std::vector<Entry> foreign_entries() {
  std::vector<Entry> all;
  all.push_back(
      {.id = "pos-jump",
       .group = "RoPE",
       .name = "positions jump",
       .explanation =
           "From some position on, all are off by a constant, for queries and keys alike.",
       .look_at = "position ids after padding, an image or a cached prefix",
       .frequency = 2,
       .variants = in_survey(jumps)});
  all.push_back(
      {.id = "rope-frequencies",
       .group = "RoPE",
       .name = "RoPE frequencies from a different formula",
       .explanation =
           "The angles grow linearly with the position, but the frequencies are not the model's.",
       .look_at = "inv_freq, rope_type and its parameters",
       .frequency = 2,
       .variants = in_survey([](const Circumstances& at) {
         Rotary rotary;
         rotary.inv_freq.assign(static_cast<std::size_t>(at.spec.rotary_dims()) / 2, 0.01);
         return std::vector<Variant>{{"the same for all pairs",
                                      [rotary](Hypothesis& h) { set_rotary(h.program, rotary); }}};
       })});
  all.push_back({.id = "embed-rows",
                 .group = "embedding",
                 .name = "wrong embedding rows for some tokens",
                 .explanation = "Some tokens get another token's row, or zeros.",
                 .look_at = "added tokens, resized embeddings, the padding row",
                 .frequency = 2,
                 .variants = [](const Circumstances&) { return std::vector<Variant>{}; }});
  all.push_back(
      {.id = "logit-bias",
       .group = "head",
       .name = "logits biased",
       .explanation =
           "A constant is added to the logits of some ids, although this model has no such bias.",
       .look_at = "logit_bias, suppressed tokens, a bias of lm_head",
       .variants = in_survey([](const Circumstances&) {
         return std::vector<Variant>{{"+1 for id 0", [](Hypothesis& h) {
                                        bias_logits(h.program, {{0, 1.0}});
                                      }}};
       })});
  all.push_back({.id = "values-limited",
                 .group = "MLP",
                 .name = "values clamped",
                 .explanation = "Values are limited (SwiGLU's limit, clip_qkv, a clamp of the "
                                "stream for F16), which this model does not do.",
                 .look_at = "clamp, clip and limit in the layer",
                 .variants = in_survey(limits)});
  return all;
}

}  // namespace assay
