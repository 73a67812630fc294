// The catalog: embedding and head.
#include <fmt/format.h>

#include <cmath>

#include "diagnose/catalog_list.h"

namespace assay {
namespace {

using Kind = WeightChange::Kind;

// Applies the change to the embedding's lookup.
template <class Change>
auto lookup(Change change) {
  return [change](Hypothesis& h) {
    change_each<OddLookup>(h.program.embedding, [&](OddLookup& e, const Step&) { change(e); });
  };
}

std::vector<Variant> embedding_scale(const Circumstances& at) {
  if (at.spec.embedding.scale != 1) return {};
  const double root = std::sqrt(static_cast<double>(at.spec.hidden_size));
  return {{"by sqrt(hidden_size)", lookup([root](OddLookup& e) { e.lookup.scale = root; })},
          {"by 1/sqrt(hidden_size)", lookup([root](OddLookup& e) { e.lookup.scale = 1 / root; })}};
}

std::vector<Variant> missing_embedding_scale(const Circumstances& at) {
  const double own = at.spec.embedding.scale;
  if (own == 1) return {};
  return {{"not at all", lookup([](OddLookup& e) { e.lookup.scale = 1; })},
          {"by hidden_size", lookup([own](OddLookup& e) { e.lookup.scale = own * own; })},
          {"by 1/sqrt(hidden_size)", lookup([own](OddLookup& e) { e.lookup.scale = 1 / own; })}};
}

std::vector<Variant> rows_by_one(const Circumstances&) {
  std::vector<Variant> all;
  for (const std::int64_t n : {1, -1}) {
    all.push_back({fmt::format("{:+}", n), lookup([n](OddLookup& e) { e.row_offset = n; })});
  }
  return all;
}

std::vector<Variant> logits_rows(const Circumstances&) {
  return {{"of the position before", [](Hypothesis& h) { shift_head_rows(h.program, -1); }},
          {"of the position after", [](Hypothesis& h) { shift_head_rows(h.program, 1); }}};
}

std::vector<Variant> logits_scale(const Circumstances& at) {
  const double root = std::sqrt(static_cast<double>(at.spec.hidden_size));
  std::vector<Variant> all;
  const auto add = [&](std::string text, double scale) {
    all.push_back({std::move(text), [scale](Hypothesis& h) { scale_logits(h.program, scale); }});
  };
  add("by sqrt(hidden_size)", root);
  add("by 1/sqrt(hidden_size)", 1 / root);
  for (const double t : {0.6, 0.7, 0.8}) add(fmt::format("by 1/{} (a temperature)", t), 1 / t);
  return all;
}

std::vector<Variant> other_final_softcap(const Circumstances& at) {
  if (at.spec.head.softcap == 0) return {};
  const double own = at.spec.head.softcap;
  return {{"left out", [](Hypothesis& h) { cap_logits(h.program, 0); }},
          {"applied to the final norm's output instead of the logits",
           [own](Hypothesis& h) {
             cap_logits(h.program, 0);
             cap_final_norm(h.program, own);
           }},
          {"at 50", [](Hypothesis& h) { cap_logits(h.program, 50); }},
          {"at 30", [](Hypothesis& h) { cap_logits(h.program, 30); }}};
}

std::vector<Variant> final_softcap(const Circumstances& at) {
  if (at.spec.head.softcap > 0) return {};
  std::vector<Variant> all;
  for (const double cap : {30.0, 50.0, 20.0}) {
    all.push_back(
        {fmt::format("at {:g}", cap), [cap](Hypothesis& h) { cap_logits(h.program, cap); }});
  }
  return all;
}

}  // namespace

std::vector<Entry> embedding_entries() {
  std::vector<Entry> all;
  all.push_back(
      {.id = "embed-scale",
       .group = "embedding",
       .name = "embedding scaled",
       .explanation =
           "The embedding's rows are multiplied by a constant (Gemma does; this model does "
           "not).",
       .look_at = "the lookup, and what follows it",
       .frequency = 2,
       .variants = embedding_scale});
  all.push_back({.id = "embed-scale-missing",
                 .group = "embedding",
                 .name = "embedding scaled wrongly",
                 .explanation = "This model multiplies the embedding's rows by sqrt(hidden_size).",
                 .look_at = "what follows the lookup; the head uses the table as it is",
                 .frequency = 3,
                 .variants = missing_embedding_scale});
  all.push_back(
      {.id = "embed-scale-exact",
       .group = "embedding",
       .name = "embedding's scale not rounded to BF16",
       .explanation =
           "transformers rounds sqrt(hidden_size) to the model's dtype before it multiplies. "
           "No logic is wrong.",
       .look_at = "the type of the scale",
       .frequency = 2,
       .rounding = true,
       .variants = [](const Circumstances& at) {
         if (!at.rounds_to_bf16 || at.spec.embedding.scale == 1) {
           return std::vector<Variant>{};
         }
         return only(lookup([](OddLookup& e) { e.scale_rounded = false; }));
       }});
  all.push_back({.id = "embed-row",
                 .group = "embedding",
                 .name = "embedding rows off by one",
                 .explanation = "The row before or after the token's own is read.",
                 .look_at = "where the table begins, and ids that count from 1",
                 .variants = rows_by_one});
  all.push_back({.id = "embed-transposed",
                 .group = "embedding",
                 .name = "embedding read transposed",
                 .explanation = "The table is read as [hidden, vocab].",
                 .look_at = "the layout of embed_tokens",
                 .frequency = 2,
                 .variants = [](const Circumstances&) {
                   return only(
                       [](Hypothesis& h) { h.embedding = WeightChange{Kind::kTransposed}; });
                 }});
  return all;
}

std::vector<Entry> head_entries() {
  std::vector<Entry> all;
  all.push_back({.id = "tie-wrong",
                 .group = "head",
                 .name = "embedding used as head",
                 .explanation = "The checkpoint has its own lm_head, but the embedding is used.",
                 .look_at = "tie_word_embeddings (false here)",
                 .frequency = 3,
                 .variants = [](const Circumstances& at) {
                   if (at.tied_head) return std::vector<Variant>{};
                   return only([](Hypothesis& h) { use_embedding_as_head(h.program); });
                 }});
  all.push_back({.id = "logits-row",
                 .group = "head",
                 .name = "logits of the wrong position",
                 .explanation = "The head reads the neighbouring position's hidden state.",
                 .look_at = "which row is taken for the logits",
                 .frequency = 2,
                 .variants = logits_rows});
  all.push_back(
      {.id = "logits-scale",
       .group = "head",
       .name = "logits scaled",
       .explanation = "All logits are multiplied by a constant; the best token stays the best.",
       .look_at = "a scaled table reused as head, a temperature",
       .frequency = 2,
       .variants = logits_scale});
  all.push_back(
      {.id = "final-softcap",
       .group = "head",
       .name = "logits capped",
       .explanation =
           "cap * tanh(logit / cap) is applied, as in Gemma 2; this model does not have it.",
       .look_at = "final_logit_softcapping and its default",
       .variants = final_softcap});
  all.push_back(
      {.id = "final-softcap-missing",
       .group = "head",
       .name = "wrong cap on the logits",
       .explanation =
           "This model's logits pass through cap * tanh(logit / cap); the best token stays "
           "the best.",
       .look_at = "final_logit_softcapping",
       .frequency = 3,
       .variants = other_final_softcap});
  return all;
}

}  // namespace assay
