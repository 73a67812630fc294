#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "diagnose/catalog_list.h"

namespace assay {
namespace {

using Kind = WeightChange::Kind;

std::vector<Variant> of_matrices(const Circumstances& at, Kind kind, std::int64_t amount) {
  std::vector<Variant> all;
  for (const Part part : kMatrices) {
    all.push_back({std::string(part_name(at.spec, part)), [=](Hypothesis& h) {
                     h.weights.push_back({kind, part, part, amount});
                   }});
  }
  return all;
}

std::vector<Variant> transposed(const Circumstances& at) {
  std::vector<Variant> all = of_matrices(at, Kind::kTransposed, 0);
  const WeightChange change{Kind::kTransposed};
  all.push_back({"lm_head", [=](Hypothesis& h) { h.head = change; }});
  return all;
}

std::vector<Variant> of_any_part(const Circumstances& at, Kind kind,
                                 const std::vector<std::int64_t>& amounts, std::string_view words) {
  std::vector<Variant> all;
  for (int p = 0; p < kPartCount; ++p) {
    const Part part = static_cast<Part>(p);
    if (!has_part(at.spec, part)) continue;
    for (const std::int64_t amount : amounts) {
      all.push_back({fmt::format("{}{}", part_name(at.spec, part),
                                 amount == 0 ? "" : fmt::format(fmt::runtime(words), amount)),
                     [=](Hypothesis& h) {
                       h.weights.push_back({kind, part, part, amount});
                     }});
    }
  }
  return all;
}

std::vector<Variant> permuted(const Circumstances&) {
  std::vector<Variant> all;
  for (const std::int64_t amount : {1, -1}) {
    const std::string way = amount > 0 ? "to neighbouring pairs" : "from neighbouring pairs";
    const auto change = [amount](Part part) {
      return WeightChange{Kind::kPermuted, part, part, amount};
    };
    all.push_back({"q_proj and k_proj " + way, [change](Hypothesis& h) {
                     h.weights.push_back(change(Part::kQ));
                     h.weights.push_back(change(Part::kK));
                   }});
    all.push_back(
        {"q_proj " + way, [change](Hypothesis& h) { h.weights.push_back(change(Part::kQ)); }});
    all.push_back(
        {"k_proj " + way, [change](Hypothesis& h) { h.weights.push_back(change(Part::kK)); }});
  }
  return all;
}

std::vector<Variant> exchanged_kv(const Circumstances&) {
  return only([](Hypothesis& h) {
    h.weights.push_back({Kind::kExchanged, Part::kK, Part::kV, 0});
  });
}

std::vector<Variant> exchanged_qk(const Circumstances& at) {
  if (at.spec.num_attention_heads != at.spec.num_key_value_heads) return {};
  return only([](Hypothesis& h) {
    h.weights.push_back({Kind::kExchanged, Part::kQ, Part::kK, 0});
  });
}

std::vector<std::int64_t> identity(std::int64_t layers) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(layers));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

// Layers sorted as text: 0, 1, 10, 11, ..., 2, 20, ...
std::vector<Variant> sorted_as_text(const Circumstances& at) {
  if (at.spec.num_hidden_layers <= 10) return {};
  std::vector<std::int64_t> order = identity(at.spec.num_hidden_layers);
  std::ranges::sort(order, {}, [](std::int64_t l) { return std::to_string(l); });
  return {{"sorted as text: 0, 1, 10, 11, ...", [order](Hypothesis& h) { h.order = order; }}};
}

std::vector<Variant> order_of_layers(const Circumstances& at) {
  std::vector<Variant> all = sorted_as_text(at);
  const std::int64_t layers = at.spec.num_hidden_layers;
  std::vector<std::int64_t> backwards = identity(layers);
  std::ranges::reverse(backwards);
  if (layers > 1) {
    all.push_back({"from the last to the first", [=](Hypothesis& h) { h.order = backwards; }});
    all.push_back({"layer 0's weights in every layer",
                   [=](Hypothesis& h) { h.order.assign(static_cast<std::size_t>(layers), 0); }});
  }
  // With nothing but logits any two may be exchanged.
  for (std::int64_t l = 0; l + 1 < layers && at.bad_layers.empty(); ++l) {
    all.push_back({fmt::format("layers {} and {} exchanged", l, l + 1), [=](Hypothesis& h) {
                     h.order = identity(layers);
                     std::swap(h.order[static_cast<std::size_t>(l)],
                               h.order[static_cast<std::size_t>(l + 1)]);
                   }});
  }
  // Where one layer goes wrong: by which of the others can it be explained?
  if (at.bad_layers.empty() || at.bad_layers.size() > 2) return all;
  const std::int64_t bad = at.bad_layers.front();
  for (std::int64_t other = 0; other < layers; ++other) {
    if (other == bad) continue;
    all.push_back(
        {fmt::format("layer {} has the weights of layer {}", bad, other), [=](Hypothesis& h) {
           h.order = identity(layers);
           h.order[static_cast<std::size_t>(bad)] = other;
         }});
  }
  if (at.bad_layers.size() == 2) {
    const std::int64_t other = at.bad_layers.back();
    all.push_back({fmt::format("layers {} and {} exchanged", bad, other), [=](Hypothesis& h) {
                     h.order = identity(layers);
                     std::swap(h.order[static_cast<std::size_t>(bad)],
                               h.order[static_cast<std::size_t>(other)]);
                   }});
  }
  return all;
}

std::vector<Variant> left_out(const Circumstances& at) {
  std::vector<Variant> all;
  const std::int64_t layers = at.spec.num_hidden_layers;
  const auto without = [&](std::int64_t l) {
    all.push_back({fmt::format("layer {}", l), [=](Hypothesis& h) {
                     h.order = identity(layers);
                     h.order[static_cast<std::size_t>(l)] = -1;
                   }});
  };
  if (at.bad_layers.size() == 1) {
    without(at.bad_layers.front());
    return all;
  }
  without(layers - 1);
  without(0);
  // With nothing but logits any layer may be the one.
  for (std::int64_t l = 1; l + 1 < layers && at.bad_layers.empty(); ++l) without(l);
  return all;
}

// The embedding's lookup, changed.
template <class Change>
auto lookup(Change change) {
  return [change](Hypothesis& h) {
    change_each<OddLookup>(h.program.embedding, [&](OddLookup& e, const Step&) { change(e); });
  };
}

std::vector<Variant> embedding_scale(const Circumstances& at) {
  if (at.spec.embedding.scale != 1) return {};
  const double root = std::sqrt(static_cast<double>(at.spec.hidden_size));
  return {{"by sqrt(hidden_size)", lookup([root](OddLookup& e) { e.scale = root; })},
          {"by 1/sqrt(hidden_size)", lookup([root](OddLookup& e) { e.scale = 1 / root; })}};
}

std::vector<Variant> missing_embedding_scale(const Circumstances& at) {
  const double own = at.spec.embedding.scale;
  if (own == 1) return {};
  return {{"not at all", lookup([](OddLookup& e) { e.scale = 1; })},
          {"by hidden_size", lookup([own](OddLookup& e) { e.scale = own * own; })},
          {"by 1/sqrt(hidden_size)", lookup([own](OddLookup& e) { e.scale = 1 / own; })}};
}

// In all projections that have one, and in each alone.
std::vector<Variant> missing_bias(const Circumstances& at) {
  std::vector<Variant> all;
  const auto add = [&](std::string name, const std::vector<Part>& parts) {
    all.push_back({std::move(name), [parts](Hypothesis& h) {
                     for (const Part part : parts)
                       h.weights.push_back({Kind::kZero, part, part, 0});
                   }});
  };
  std::vector<Part> own;
  for (const Part part : {Part::kQBias, Part::kKBias, Part::kVBias, Part::kOBias, Part::kGateBias,
                          Part::kUpBias, Part::kDownBias}) {
    if (has_part(at.spec, part)) own.push_back(part);
  }
  if (own.empty()) return {};
  add("of all projections", own);
  if (own.size() > 3)
    add("of q_proj, k_proj and v_proj", {Part::kQBias, Part::kKBias, Part::kVBias});
  for (const Part part : own) {
    const std::string_view name = part_name(at.spec, part);
    add(fmt::format("of {}", name.substr(0, name.find('.'))), {part});
  }
  return all;
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
          {"of the position behind", [](Hypothesis& h) { shift_head_rows(h.program, 1); }}};
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
          {"applied to the final norm's output in place of the logits",
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

std::vector<Entry> weight_entries() {
  std::vector<Entry> all;
  all.push_back({"embed-scale", "embedding", "embedding scaled",
                 "The embedding's rows are multiplied by a constant (Gemma does; this model does "
                 "not).",
                 "the lookup, and what follows it", 2, false, embedding_scale});
  all.push_back({"embed-scale-missing", "embedding", "embedding not scaled",
                 "This model multiplies the embedding's rows by sqrt(hidden_size).",
                 "what follows the lookup; the head uses the table as it is", 3, false,
                 missing_embedding_scale});
  all.push_back({"embed-scale-exact", "embedding", "embedding's scale not rounded to BF16",
                 "transformers rounds sqrt(hidden_size) to the model's dtype before it multiplies. "
                 "No logic is wrong.",
                 "the type of the scale", 2, true, [](const Circumstances& at) {
                   if (!at.rounds_to_bf16 || at.spec.embedding.scale == 1) {
                     return std::vector<Variant>{};
                   }
                   return only(lookup([](OddLookup& e) { e.scale_rounded = false; }));
                 }});
  all.push_back({"embed-row", "embedding", "embedding rows off by one",
                 "Token id's row is read one place before or behind.",
                 "where the table begins, and ids that count from 1", 1, false, rows_by_one});
  all.push_back({"embed-transposed", "embedding", "embedding read as transposed",
                 "The table is taken for [hidden, vocab].", "the layout of embed_tokens", 2, false,
                 [](const Circumstances&) {
                   return only(
                       [](Hypothesis& h) { h.embedding = WeightChange{Kind::kTransposed}; });
                 }});
  all.push_back({"w-transposed", "projections", "a matrix read as transposed",
                 "The matrix's bytes are taken for [in, out]; checkpoints hold [out, in].",
                 "the layout that your matmul expects", 3, false, transposed});
  all.push_back({"bias-missing", "projections", "a projection's bias is not added",
                 "The checkpoint has biases beside the matrices (Qwen2's q, k and v).",
                 "the names ending in .bias, and what is fused into the matmul", 3, false,
                 missing_bias});
  all.push_back({"kv-swapped", "projections", "k_proj and v_proj exchanged",
                 "Keys are made by the values' matrix, and the other way round.",
                 "the names or the order in which they are loaded", 1, false, exchanged_kv});
  all.push_back({"qk-swapped", "projections", "q_proj and k_proj exchanged",
                 "Queries are made by the keys' matrix, and the other way round.",
                 "the names or the order in which they are loaded", 1, false, exchanged_qk});
  all.push_back({"qkv-split", "projections", "fused q, k, v split wrongly",
                 "A matrix fused head group by head group is split as if q, k and v stood one "
                 "after the other.",
                 "how the fused qkv matrix is laid out", 2, false, [](const Circumstances&) {
                   return only([](Hypothesis& h) {
                     h.weights.push_back({Kind::kQkvGrouped, Part::kQ, Part::kQ, 0});
                   });
                 }});
  all.push_back({"qk-permute", "projections", "rows of q_proj or k_proj permuted",
                 "The rows within each head were reordered for the other RoPE pairing.",
                 "the checkpoint's conversion; do this or an interleaved RoPE, not both", 3, false,
                 permuted});
  all.push_back({"shard-offset", "weights", "rows of a matrix shifted",
                 "The matrix begins at the wrong place: each row is its neighbour's.",
                 "offsets of shards and of tensors in the file", 2, false,
                 [](const Circumstances& at) {
                   std::vector<Variant> rows;
                   for (const std::int64_t n : {1, -1}) {
                     for (Variant& v : of_matrices(at, Kind::kRowsShifted, n)) {
                       v.detail += fmt::format(" by {:+}", n);
                       rows.push_back(std::move(v));
                     }
                   }
                   return rows;
                 }});
  all.push_back({"tensor-missing", "weights", "a tensor left at zero", "It was never loaded.",
                 "names that were asked for and not found", 2, false,
                 [](const Circumstances& at) { return of_any_part(at, Kind::kZero, {0}, ""); }});
  all.push_back({"tensor-of-other-layer", "weights", "a tensor of the layer before or behind",
                 "It is right in itself and belongs to another layer.",
                 "the layer's number in the tensor's name, and reused buffers", 2, false,
                 [](const Circumstances& at) {
                   return of_any_part(at, Kind::kFromLayer, {1, -1}, " of layer l{:+}");
                 }});
  all.push_back({"layer-order", "layers", "layers in another order",
                 "Each layer is right in itself and runs at another's place.",
                 "how the layers' names are sorted, and which index the loop uses", 2, false,
                 order_of_layers});
  all.push_back({"layer-missing", "layers", "a layer left out",
                 "The stream passes a layer unchanged (a loop that ends too early leaves out the "
                 "last one).",
                 "the bounds of the loop over layers", 2, false, left_out});
  all.push_back({"tie-wrong", "head", "embedding used as head",
                 "The checkpoint has an lm_head of its own, and the embedding is used.",
                 "tie_word_embeddings (false here)", 3, false, [](const Circumstances& at) {
                   if (at.tied_head) return std::vector<Variant>{};
                   return only([](Hypothesis& h) { use_embedding_as_head(h.program); });
                 }});
  all.push_back({"logits-row", "head", "logits of another position",
                 "The head reads the neighbouring position's hidden state.",
                 "which row is taken for the logits", 2, false, logits_rows});
  all.push_back({"logits-scale", "head", "logits scaled",
                 "All logits are multiplied by a constant; the best token stays the best.",
                 "a scaled table reused as head, a temperature", 2, false, logits_scale});
  all.push_back({"final-softcap", "head", "logits capped",
                 "cap * tanh(logit / cap) is applied, which Gemma 2 has and this model has not.",
                 "final_logit_softcapping and its default", 1, false, final_softcap});
  all.push_back({"final-softcap-missing", "head", "logits not capped as they should be",
                 "This model's logits pass through cap * tanh(logit / cap); the best token stays "
                 "the best.",
                 "final_logit_softcapping", 3, false, other_final_softcap});
  return all;
}

bool is_possible(const Hypothesis& h, const ModelSpec& own) {
  for (const WeightChange& change : h.weights) {
    const bool of_two = change.kind == Kind::kExchanged || change.kind == Kind::kCopied;
    if (of_two && !has_part(own, change.other)) return false;
    if (!has_part(own, change.part)) return false;
  }
  // An MLP's weights do for no mixture.
  for (std::size_t l = 0; l < h.order.size(); ++l) {
    if (h.order[l] >= 0 &&
        own.is_sparse(h.order[l]) != own.is_sparse(static_cast<std::int64_t>(l))) {
      return false;
    }
  }
  // Longrope has a factor for each rotated pair.
  const auto fits = [&](const Step& step) {
    const std::optional<OddRotate> rotation = OddRotate::of(step.operation);
    return !rotation || h.program.ropes[rotation->rotate.table].scaling != RopeScaling::kLongrope ||
           rotation->rotate.dims == own.rotary_dims();
  };
  return std::ranges::all_of(
      h.program.layers, [&](const Block& layer) { return std::ranges::all_of(layer.steps, fits); });
}

std::vector<Variant> variants_of(const Entry& entry, const Circumstances& at) {
  std::vector<Variant> all = entry.variants(at);
  const Hypothesis own{at.program};
  std::erase_if(all, [&](const Variant& variant) {
    Hypothesis h = own;
    variant.apply(h);
    return h == own || !is_possible(h, at.spec);
  });
  return all;
}

const std::vector<Entry>& catalog() {
  static const std::vector<Entry> entries = [] {
    std::vector<Entry> all;
    for (auto* part :
         {weight_entries, norm_entries, norm_weight_entries, rope_entries, rotary_entries,
          attention_entries, mlp_entries, quantized_entries, rounding_entries, foreign_entries}) {
      for (Entry& entry : part()) all.push_back(std::move(entry));
    }
    return all;
  }();
  return entries;
}

}  // namespace assay
