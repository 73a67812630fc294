#include <fmt/format.h>

#include <cmath>

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

bool is_there(const ModelSpec& spec, const NormPlace& place) {
  if (of_heads(place)) return spec.qk_norm;
  if (place.norm == Tap::kInputNorm || place.norm == Tap::kMlpNorm) {
    return spec.has_norms_before();
  }
  return place.norm == Tap::kFinalNormOutput || spec.has_norms_after();
}

// In all norms, in those of the residual stream, in those of the heads, and in each alone.
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
    if (!is_there(at.spec, place)) continue;
    every.push_back(place.norm);
    if (!of_heads(place)) wide.push_back(place.norm);
  }
  if (at.spec.qk_norm) {
    add("all norms", every);
    add("the query and key norms", {Tap::kQNorm, Tap::kKNorm});
  }
  add("the norms of hidden size", wide);
  wide.pop_back();  // the final one
  add("the layers' norms of hidden size", wide);
  for (const NormPlace& place : kPlaces) {
    if (is_there(at.spec, place)) add(place.name, {place.norm});
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

// The norms are applied so many times.
auto norms_times(std::vector<Tap> norms, int times) {
  return [norms = std::move(norms), times](Hypothesis& h) {
    change_norms(h.program, norms, [times](OddNorm& norm) { norm.times = times; });
  };
}

std::vector<Variant> missing_norm(const Circumstances& at) {
  std::vector<Variant> all;
  if (at.spec.norms == Norms::kAround) {
    all.push_back({"those after attention and after the MLP",
                   norms_times({Tap::kAttnPostNorm, Tap::kMlpPostNorm}, 0)});
  }
  for (const NormPlace& place : kPlaces) {
    if (of_heads(place) || place.norm == Tap::kFinalNormOutput) continue;
    if (!is_there(at.spec, place)) continue;
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

// Other places for the norms than the model's own.
std::vector<Variant> other_places(const Circumstances& at) {
  std::vector<Variant> all = {{"behind the adds", [own = at.spec.norms](Hypothesis& h) {
                                 norms_after_adds(h.program, own);
                               }}};
  if (at.spec.norms == Norms::kAfter) {
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
  all.push_back({"eps-value", "norms", "another epsilon in RMSNorm",
                 "The norm adds another epsilon to the mean of squares than the config's "
                 "rms_norm_eps; tokens with small values are scaled most wrongly.",
                 "where rms_norm_eps is read from config.json, and every default for it", 3, false,
                 other_eps});
  all.push_back({"eps-outside", "norms", "epsilon outside of the root",
                 "x / (sqrt(mean) + eps) in place of x / sqrt(mean + eps).",
                 "the RMSNorm's formula", 2, false,
                 norms([](OddNorm& norm) { norm.eps_outside = true; })});
  all.push_back({"norm-cast-order", "norms", "RMSNorm rounds after its weight only",
                 "transformers rounds x / rms to BF16 before it multiplies by the weight, and "
                 "again after; here it is rounded once. No logic is wrong.",
                 "where the norm's result is cast back to BF16", 2, true,
                 [](const Circumstances& at) {
                   if (!at.rounds_to_bf16) return std::vector<Variant>{};
                   return in_norms(at, "", [](OddNorm& norm) { norm.norm.rounded_once = true; });
                 }});
  all.push_back(
      {"norm-rounds-twice", "norms", "RMSNorm rounds before its weight too",
       "This model's norms are rounded once, after the weight; here x / rms is rounded to "
       "BF16 before, as Llama does. No logic is wrong.",
       "where the norm's result is cast back to BF16", 2, true, [](const Circumstances& at) {
         if (!at.rounds_to_bf16) return std::vector<Variant>{};
         return in_norms(at, "", [](OddNorm& norm) { norm.norm.rounded_once = false; });
       }});
  all.push_back({"norm-lowp-var", "norms", "RMSNorm's mean of squares in BF16",
                 "Squares, their mean and the inverse root are rounded to BF16; transformers holds "
                 "them in FP32.",
                 "the type in which the norm computes", 2, true,
                 norms([](OddNorm& norm) { norm.rounded_squares = true; })});
  all.push_back({"norm-plus1", "norms", "norm weight used as 1 + weight",
                 "Gemma's norms multiply by 1 + weight; this model's by the weight.",
                 "the norm's last multiplication", 3, false,
                 norms([](OddNorm& norm) { norm.norm.one_plus = true; })});
  all.push_back({"norm-plus1-missing", "norms", "norm weight not used as 1 + weight",
                 "This model's norms multiply by 1 + weight; here by the weight alone, which is "
                 "near 0 (or 1 was added twice: in the conversion and in the norm).",
                 "the norm's last multiplication, and what the conversion added", 3, false,
                 norms([](OddNorm& norm) { norm.norm.one_plus = false; })});
  all.push_back({"norm-no-weight", "norms", "norm weight not applied",
                 "The values are normalised but not multiplied by the norm's weight.",
                 "whether the norm's weight is loaded and used", 2, false,
                 norms([](OddNorm& norm) { norm.weighted = false; })});
  all.push_back({"layernorm", "norms", "LayerNorm in place of RMSNorm",
                 "The mean is subtracted before the values are scaled.", "the norm's type", 2,
                 false, norms([](OddNorm& norm) { norm.centred = true; })});
  all.push_back({"norm-sum", "norms", "RMSNorm divides by the L2 norm",
                 "The root is taken of the sum of squares, not of their mean: everything comes out "
                 "smaller by sqrt(width).",
                 "the division by the number of channels", 2, false,
                 norms([](OddNorm& norm) { norm.sum_of_squares = true; })});
  all.push_back({"norm-missing", "norms", "a layer norm is left out",
                 "The block reads the residual stream as it is.",
                 "the layer's norms before attention and MLP", 2, false, missing_norm});
  all.push_back(
      {"qk-norm-missing", "q/k norm", "query or key norm left out",
       "This model normalises queries and keys before the rotary embedding; here they are "
       "not.",
       "attention, between the projections and RoPE", 3, false, missing_qk_norm});
  all.push_back({"qk-norm-fulldim", "q/k norm", "query and key norm over all heads together",
                 "The mean of squares is taken over the whole width, not over each head's "
                 "head_dim.",
                 "the reshape to heads before the norm", 2, false, [](const Circumstances& at) {
                   if (!at.spec.qk_norm || at.spec.qk_norms.full_width)
                     return std::vector<Variant>{};
                   return only([](Hypothesis& h) { join_heads_of_norms(h.program); });
                 }});
  all.push_back({"qk-norm-perhead", "q/k norm", "query and key norm over each head apart",
                 "This model takes the mean of squares over the whole width of the queries and of "
                 "the keys, not over each head.",
                 "the reshape to heads behind the norm", 3, false, [](const Circumstances& at) {
                   if (!at.spec.qk_norms.full_width) return std::vector<Variant>{};
                   return only([](Hypothesis& h) { part_heads_of_norms(h.program); });
                 }});
  all.push_back({"qk-norm-after-rope", "q/k norm", "query and key norm after RoPE",
                 "The norms are applied to rotated queries and keys; their weights differ within a "
                 "pair of channels, so the order matters.",
                 "the order of q_norm/k_norm and the rotary embedding", 2, false,
                 with_qk_norm([](Hypothesis& h) { norms_after_rotation(h.program); })});
  all.push_back(
      {"qk-norm-weights-swapped", "q/k norm", "query and key norm weights exchanged",
       "Queries are multiplied by k_norm's weight and keys by q_norm's.",
       "the names under which q_norm and k_norm are loaded", 1, false, [](const Circumstances& at) {
         const bool other_sizes =
             at.spec.qk_norms.full_width && at.spec.q_size() != at.spec.kv_size();
         if (!at.spec.qk_norm || other_sizes) return std::vector<Variant>{};
         return only([](Hypothesis& h) {
           h.weights.push_back({WeightChange::Kind::kExchanged, Part::kQNorm, Part::kKNorm, 0});
         });
       }});
  all.push_back({"v-norm-too", "q/k norm", "values normalised like keys",
                 "The values pass through the key norm as well.",
                 "which of q, k and v are normalised", 1, false,
                 with_qk_norm([](Hypothesis& h) { normalise_values(h.program); })});
  all.push_back({"final-norm-missing", "norms", "final norm left out",
                 "The head reads the residual stream as the last layer leaves it.",
                 "between the last layer and lm_head", 2, false, [](const Circumstances&) {
                   return only(norms_times({Tap::kFinalNormOutput}, 0));
                 }});
  all.push_back(
      {"final-norm-twice", "norms", "final norm applied twice",
       "What the head reads was normalised a second time.", "between the last layer and lm_head", 1,
       false, [](const Circumstances&) { return only(norms_times({Tap::kFinalNormOutput}, 2)); }});

  const auto residual = [](Tap sum, Residual from) {
    return [sum, from](Hypothesis& h) { add_to(h.program, sum, from); };
  };
  const auto both = [](Residual from) {
    return [from](Hypothesis& h) {
      add_to(h.program, Tap::kAttnResidual, from);
      add_to(h.program, Tap::kLayerOutput, from);
    };
  };
  all.push_back({"residual-missing", "residual", "a residual add is left out",
                 "The block's output replaces the residual stream in place of being added to it.",
                 "the adds after attention and after the MLP", 2, false,
                 [residual, both](const Circumstances&) -> std::vector<Variant> {
                   return {{"after attention", residual(Tap::kAttnResidual, Residual::kNone)},
                           {"after the MLP", residual(Tap::kLayerOutput, Residual::kNone)},
                           {"after both", both(Residual::kNone)}};
                 }});
  all.push_back({"residual-from-normed", "residual", "the normed stream is added, not the raw one",
                 "The block's output is added to what its norm made of the stream (a norm that "
                 "works in place does this).",
                 "whether the norm overwrites its input, and what the add reads", 2, false,
                 [residual, both](const Circumstances&) -> std::vector<Variant> {
                   return {{"after attention", residual(Tap::kAttnResidual, Residual::kNormed)},
                           {"after the MLP", residual(Tap::kLayerOutput, Residual::kNormed)},
                           {"after both", both(Residual::kNormed)}};
                 }});
  all.push_back({"residual-source", "residual", "the MLP is added to the layer's input",
                 "Attention's output is lost: the second add takes the stream from before "
                 "attention.",
                 "what the add after the MLP reads", 2, false, [residual](const Circumstances&) {
                   return only(residual(Tap::kLayerOutput, Residual::kLayerInput));
                 }});
  all.push_back({"parallel-block", "residual", "attention and MLP in parallel",
                 "The MLP reads the layer's input, not the stream after attention (as GPT-J).",
                 "what the norm before the MLP reads", 1, false, [](const Circumstances&) {
                   return only([](Hypothesis& h) { run_in_parallel(h.program); });
                 }});
  all.push_back({"norm-place", "residual", "norms at another place",
                 "The layer's norms stand behind the residual adds (post-norm), or before the "
                 "blocks where this model has them after.",
                 "where the layer's norms are applied", 2, false, other_places});
  return all;
}

}  // namespace assay
