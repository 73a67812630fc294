#include <fmt/format.h>

#include <cmath>

#include "candidate/data_flow.h"
#include "diagnose/catalog_list.h"

namespace assay {
namespace {

struct NormPlace {
  std::string_view name;
  Tap norm;
};
constexpr NormPlace kPlaces[] = {{"the norm before attention", Tap::kInputNorm},
                                 {"the query norm", Tap::kQNorm},
                                 {"the key norm", Tap::kKNorm},
                                 {"the norm after attention", Tap::kAttnPostNorm},
                                 {"the norm before the MLP", Tap::kMlpNorm},
                                 {"the norm after the MLP", Tap::kMlpPostNorm},
                                 {"the final norm", Tap::kFinalNormOutput}};

bool of_heads(const NormPlace& place) {
  return place.norm == Tap::kQNorm || place.norm == Tap::kKNorm;
}

bool is_there(const Circumstances& at, Tap norm) {
  const Block& block = is_layer_tap(norm) ? at.program.layers.front() : at.program.head;
  return block.find(norm).has_value();
}

// The change in all norms, in those of the residual stream, in those of the heads, and in each
// alone.
template <class Change>
std::vector<Variant> in_norms(const Circumstances& at, const std::string& what, Change change) {
  std::vector<Variant> all;
  const auto add = [&](std::string_view where, const std::vector<Tap>& norms) {
    const std::string gap = what.empty() ? "" : " ";
    all.push_back({fmt::format("{}{}in {}", what, gap, where),
                   [norms, change](Hypothesis& h) { change_norms(h.program, norms, change); }});
  };
  std::vector<Tap> every;
  std::vector<Tap> wide;
  for (const NormPlace& place : kPlaces) {
    if (!is_there(at, place.norm)) continue;
    every.push_back(place.norm);
    if (!of_heads(place)) wide.push_back(place.norm);
  }
  if (at.spec.qk_norm) {
    add("all norms", every);
    add("the query and key norms", {Tap::kQNorm, Tap::kKNorm});
  }
  add("the norms of hidden size", wide);
  wide.pop_back();  // without the final one
  add("the layers' norms of hidden size", wide);
  for (const NormPlace& place : kPlaces) {
    if (is_there(at, place.norm)) add(place.name, {place.norm});
  }
  return all;
}

template <class Change>
auto norms(Change change) {
  return [change](const Circumstances& at) { return in_norms(at, "", change); };
}

}  // namespace

std::vector<Variant> eps_in_norms(const Circumstances& at, double eps) {
  return in_norms(at, fmt::format("{:g}", eps), [eps](OddNorm& norm) { norm.norm.eps = eps; });
}

namespace {

std::vector<Variant> other_eps(const Circumstances& at) {
  std::vector<Variant> all;
  for (const double eps : {1e-5, 1e-6, 1e-8, 1e-12, 0.0, 1e-7, 1e-4, 1e-3, 1e-2}) {
    if (eps == at.spec.rms_norm_eps) continue;
    for (Variant& variant : eps_in_norms(at, eps)) all.push_back(std::move(variant));
  }
  return all;
}

// Applies each of the norms this many times.
auto norms_times(std::vector<Tap> norms, int times) {
  return [norms = std::move(norms), times](Hypothesis& h) {
    change_norms(h.program, norms, [times](OddNorm& norm) { norm.applications = times; });
  };
}

std::vector<Variant> missing_norm(const Circumstances& at) {
  std::vector<Variant> all;
  if (is_there(at, Tap::kInputNorm) && has_norms_after(at.spec)) {
    all.push_back({"those after attention and after the MLP",
                   norms_times({Tap::kAttnPostNorm, Tap::kMlpPostNorm}, 0)});
  }
  for (const NormPlace& place : kPlaces) {
    if (of_heads(place) || place.norm == Tap::kFinalNormOutput) continue;
    if (!is_there(at, place.norm)) continue;
    all.push_back({std::string(place.name), norms_times({place.norm}, 0)});
  }
  return all;
}

std::vector<Variant> missing_qk_norm(const Circumstances& at) {
  if (!at.spec.qk_norm) return {};
  return {{"of queries and keys", norms_times({Tap::kQNorm, Tap::kKNorm}, 0)},
          {"of queries", norms_times({Tap::kQNorm}, 0)},
          {"of keys", norms_times({Tap::kKNorm}, 0)}};
}

// Places of the norms in other models.
std::vector<Variant> other_places(const Circumstances& at) {
  const bool before = is_there(at, Tap::kInputNorm);
  std::vector<Variant> all = {
      {"after the adds", [before](Hypothesis& h) { norms_after_adds(h.program, before); }}};
  if (!before) {
    all.push_back({"before the blocks", [](Hypothesis& h) { norms_before_blocks(h.program); }});
  }
  return all;
}

template <class Apply>
auto with_qk_norm(Apply apply) {
  return [apply](const Circumstances& at) {
    return at.spec.qk_norm ? only(apply) : std::vector<Variant>{};
  };
}

}  // namespace

std::vector<Entry> norm_entries() {
  std::vector<Entry> all;
  all.push_back({.id = "eps-value",
                 .group = "norms",
                 .name = "wrong epsilon in RMSNorm",
                 .explanation = "The epsilon added to the mean of squares is not the config's "
                                "rms_norm_eps; tokens with small values are affected most.",
                 .look_at = "where rms_norm_eps is read from config.json, and every default for it",
                 .frequency = 3,
                 .variants = other_eps});
  all.push_back({.id = "eps-outside",
                 .group = "norms",
                 .name = "epsilon outside the root",
                 .explanation = "x / (sqrt(mean) + eps) instead of x / sqrt(mean + eps).",
                 .look_at = "the formula of RMSNorm",
                 .frequency = 2,
                 .variants = norms([](OddNorm& norm) { norm.eps_outside = true; })});
  all.push_back({.id = "norm-cast-order",
                 .group = "norms",
                 .name = "RMSNorm rounds only after its weight",
                 .explanation =
                     "transformers rounds x / rms to BF16 before it multiplies by the weight, and "
                     "again after; here it is rounded once. No logic is wrong.",
                 .look_at = "where the norm's result is cast back to BF16",
                 .frequency = 2,
                 .rounding = true,
                 .variants = [](const Circumstances& at) {
                   if (!at.rounds_to_bf16) return std::vector<Variant>{};
                   return in_norms(at, "", [](OddNorm& norm) { norm.norm.rounded_once = true; });
                 }});
  all.push_back({.id = "norm-rounds-twice",
                 .group = "norms",
                 .name = "RMSNorm also rounds before its weight",
                 .explanation = "This model's norms are rounded once, after the weight; here x / "
                                "rms is also rounded to BF16, as in Llama. No logic is wrong.",
                 .look_at = "where the norm's result is cast back to BF16",
                 .frequency = 2,
                 .rounding = true,
                 .variants = [](const Circumstances& at) {
                   if (!at.rounds_to_bf16) return std::vector<Variant>{};
                   return in_norms(at, "", [](OddNorm& norm) { norm.norm.rounded_once = false; });
                 }});
  all.push_back({.id = "norm-lowp-var",
                 .group = "norms",
                 .name = "RMSNorm's mean of squares in BF16",
                 .explanation = "Squares, their mean and the inverse root are rounded to BF16; "
                                "transformers keeps them in FP32.",
                 .look_at = "the type in which the norm computes",
                 .frequency = 2,
                 .rounding = true,
                 .variants = norms([](OddNorm& norm) { norm.rounded_squares = true; })});
  all.push_back({.id = "norm-plus1",
                 .group = "norms",
                 .name = "norm weight used as 1 + weight",
                 .explanation = "Gemma's norms multiply by 1 + weight; this model's by the weight.",
                 .look_at = "the norm's last multiplication",
                 .frequency = 3,
                 .variants = norms([](OddNorm& norm) { norm.norm.one_plus = true; })});
  all.push_back(
      {.id = "norm-plus1-missing",
       .group = "norms",
       .name = "norm weight not used as 1 + weight",
       .explanation =
           "This model's norms multiply by 1 + weight; here by the weight alone, which is "
           "near 0 (or 1 was added twice: in the conversion and in the norm).",
       .look_at = "the norm's last multiplication, and what the conversion added",
       .frequency = 3,
       .variants = norms([](OddNorm& norm) { norm.norm.one_plus = false; })});
  all.push_back(
      {.id = "norm-no-weight",
       .group = "norms",
       .name = "norm weight not applied",
       .explanation = "The values are normalised but not multiplied by the norm's weight.",
       .look_at = "whether the norm's weight is loaded and used",
       .frequency = 2,
       .variants = norms([](OddNorm& norm) { norm.weighted = false; })});
  all.push_back({.id = "layernorm",
                 .group = "norms",
                 .name = "LayerNorm instead of RMSNorm",
                 .explanation = "The mean is subtracted before the values are scaled.",
                 .look_at = "the norm's type",
                 .frequency = 2,
                 .variants = norms([](OddNorm& norm) { norm.centred = true; })});
  all.push_back({.id = "norm-sum",
                 .group = "norms",
                 .name = "RMSNorm divides by the L2 norm",
                 .explanation = "The root is taken of the sum of squares, not of their mean: "
                                "everything is smaller by a factor of sqrt(width).",
                 .look_at = "the division by the number of channels",
                 .frequency = 2,
                 .variants = norms([](OddNorm& norm) { norm.sum_of_squares = true; })});
  all.push_back({.id = "norm-missing",
                 .group = "norms",
                 .name = "a layer norm is left out",
                 .explanation = "The block reads the residual stream as it is.",
                 .look_at = "the layer's norms before attention and MLP",
                 .frequency = 2,
                 .variants = missing_norm});
  all.push_back(
      {.id = "qk-norm-missing",
       .group = "q/k norm",
       .name = "query or key norm left out",
       .explanation =
           "This model normalises queries and keys before the rotary embedding; here they are "
           "not.",
       .look_at = "attention, between the projections and RoPE",
       .frequency = 3,
       .variants = missing_qk_norm});
  all.push_back({.id = "qk-norm-fulldim",
                 .group = "q/k norm",
                 .name = "query and key norm over all heads together",
                 .explanation =
                     "The mean of squares is taken over the whole width, not over each head's "
                     "head_dim.",
                 .look_at = "the reshape to heads before the norm",
                 .frequency = 2,
                 .variants = [](const Circumstances& at) {
                   if (!at.spec.qk_norm || at.spec.qk_norms.full_width)
                     return std::vector<Variant>{};
                   return only([](Hypothesis& h) { join_heads_of_norms(h.program); });
                 }});
  all.push_back(
      {.id = "qk-norm-perhead",
       .group = "q/k norm",
       .name = "query and key norm over each head separately",
       .explanation =
           "This model takes the mean of squares over the whole width of the queries and of "
           "the keys, not over each head.",
       .look_at = "the reshape to heads after the norm",
       .frequency = 3,
       .variants = [](const Circumstances& at) {
         if (!at.spec.qk_norms.full_width) return std::vector<Variant>{};
         return only([](Hypothesis& h) { part_heads_of_norms(h.program); });
       }});
  all.push_back(
      {.id = "qk-norm-after-rope",
       .group = "q/k norm",
       .name = "query and key norm after RoPE",
       .explanation =
           "The norms are applied to rotated queries and keys; their weights differ within a "
           "pair of channels, so the order matters.",
       .look_at = "the order of q_norm/k_norm and the rotary embedding",
       .frequency = 2,
       .variants = with_qk_norm([](Hypothesis& h) { norms_after_rotation(h.program); })});
  all.push_back(
      {.id = "qk-norm-weights-swapped",
       .group = "q/k norm",
       .name = "query and key norm weights swapped",
       .explanation = "Queries are multiplied by k_norm's weight and keys by q_norm's.",
       .look_at = "the names under which q_norm and k_norm are loaded",
       .variants = [](const Circumstances& at) {
         const bool other_sizes =
             at.spec.qk_norms.full_width && at.spec.q_size() != at.spec.kv_size();
         if (!at.spec.qk_norm || other_sizes) return std::vector<Variant>{};
         return only([](Hypothesis& h) {
           h.weights.push_back({WeightChange::Kind::kExchanged, Part::kQNorm, Part::kKNorm, 0});
         });
       }});
  all.push_back({.id = "v-norm-too",
                 .group = "q/k norm",
                 .name = "values normalised like keys",
                 .explanation = "The values pass through the key norm as well.",
                 .look_at = "which of q, k and v are normalised",
                 .variants = with_qk_norm([](Hypothesis& h) { normalise_values(h.program); })});
  all.push_back({.id = "final-norm-missing",
                 .group = "norms",
                 .name = "final norm left out",
                 .explanation = "The head reads the residual stream as the last layer leaves it.",
                 .look_at = "between the last layer and lm_head",
                 .frequency = 2,
                 .variants = [](const Circumstances&) {
                   return only(norms_times({Tap::kFinalNormOutput}, 0));
                 }});
  all.push_back({.id = "final-norm-twice",
                 .group = "norms",
                 .name = "final norm applied twice",
                 .explanation = "The head's input was normalised twice.",
                 .look_at = "between the last layer and lm_head",
                 .variants = [](const Circumstances&) {
                   return only(norms_times({Tap::kFinalNormOutput}, 2));
                 }});

  const auto residual = [](Tap sum, Residual from) {
    return [sum, from](Hypothesis& h) { add_to(h.program, sum, from); };
  };
  const auto both = [](Residual from) {
    return [from](Hypothesis& h) {
      add_to(h.program, Tap::kAttnResidual, from);
      add_to(h.program, Tap::kLayerOutput, from);
    };
  };
  all.push_back(
      {.id = "residual-missing",
       .group = "residual",
       .name = "a residual add is left out",
       .explanation =
           "The block's output replaces the residual stream instead of being added to it.",
       .look_at = "the adds after attention and after the MLP",
       .frequency = 2,
       .variants = [residual, both](const Circumstances&) -> std::vector<Variant> {
         return {{"after attention", residual(Tap::kAttnResidual, Residual::kNone)},
                 {"after the MLP", residual(Tap::kLayerOutput, Residual::kNone)},
                 {"after both", both(Residual::kNone)}};
       }});
  all.push_back(
      {.id = "residual-from-normed",
       .group = "residual",
       .name = "the normed stream is added, not the raw one",
       .explanation =
           "The block's output is added to the normalised stream (an in-place norm does this).",
       .look_at = "whether the norm overwrites its input, and what the add reads",
       .frequency = 2,
       .variants = [residual, both](const Circumstances&) -> std::vector<Variant> {
         return {{"after attention", residual(Tap::kAttnResidual, Residual::kNormed)},
                 {"after the MLP", residual(Tap::kLayerOutput, Residual::kNormed)},
                 {"after both", both(Residual::kNormed)}};
       }});
  all.push_back({.id = "residual-source",
                 .group = "residual",
                 .name = "the MLP is added to the layer's input",
                 .explanation =
                     "Attention's output is lost: the second add takes the stream from before "
                     "attention.",
                 .look_at = "what the add after the MLP reads",
                 .frequency = 2,
                 .variants = [residual](const Circumstances&) {
                   return only(residual(Tap::kLayerOutput, Residual::kLayerInput));
                 }});
  all.push_back(
      {.id = "parallel-block",
       .group = "residual",
       .name = "attention and MLP in parallel",
       .explanation =
           "The MLP reads the layer's input, not the stream after attention (as in GPT-J).",
       .look_at = "what the norm before the MLP reads",
       .variants = [](const Circumstances&) {
         return only([](Hypothesis& h) { run_in_parallel(h.program); });
       }});
  all.push_back({.id = "norm-place",
                 .group = "residual",
                 .name = "norms in the wrong place",
                 .explanation = "The layer's norms come after the residual adds (post-norm), or "
                                "before the blocks although this model has them after.",
                 .look_at = "where the layer's norms are applied",
                 .frequency = 2,
                 .variants = other_places});
  return all;
}

}  // namespace assay
