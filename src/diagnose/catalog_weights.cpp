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
    if (!has_part(at.program, part)) continue;
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
    if (!has_part(at.program, part)) continue;
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
  // With only logits, any two neighbours may be swapped.
  for (std::int64_t l = 0; l + 1 < layers && at.bad_layers.empty(); ++l) {
    all.push_back({fmt::format("layers {} and {} swapped", l, l + 1), [=](Hypothesis& h) {
                     h.order = identity(layers);
                     std::swap(h.order[static_cast<std::size_t>(l)],
                               h.order[static_cast<std::size_t>(l + 1)]);
                   }});
  }
  // If one layer is wrong, it may have another's weights.
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
    all.push_back({fmt::format("layers {} and {} swapped", bad, other), [=](Hypothesis& h) {
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
  // With only logits, any layer may be missing.
  for (std::int64_t l = 1; l + 1 < layers && at.bad_layers.empty(); ++l) without(l);
  return all;
}

// Missing in all projections that have one, or in each alone.
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
                          Part::kUpBias, Part::kDownBias, Part::kRouterBias}) {
    if (has_part(at.program, part)) own.push_back(part);
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

}  // namespace

std::vector<Entry> weight_entries() {
  std::vector<Entry> all;
  all.push_back({.id = "w-transposed",
                 .group = "projections",
                 .name = "a matrix read transposed",
                 .explanation = "The matrix is read as [in, out]; checkpoints store [out, in].",
                 .look_at = "the layout that your matmul expects",
                 .frequency = 3,
                 .variants = transposed});
  all.push_back(
      {.id = "bias-missing",
       .group = "projections",
       .name = "a projection's bias is not added",
       .explanation = "The checkpoint has biases besides the matrices (Qwen2: of q, k and v).",
       .look_at = "the names ending in .bias, and what is fused into the matmul",
       .frequency = 3,
       .variants = missing_bias});
  all.push_back(
      {.id = "kv-swapped",
       .group = "projections",
       .name = "k_proj and v_proj swapped",
       .explanation = "Keys are computed with the values' matrix, and values with the keys'.",
       .look_at = "the names or the order in which they are loaded",
       .variants = exchanged_kv});
  all.push_back(
      {.id = "qk-swapped",
       .group = "projections",
       .name = "q_proj and k_proj swapped",
       .explanation = "Queries are computed with the keys' matrix, and keys with the queries'.",
       .look_at = "the names or the order in which they are loaded",
       .variants = exchanged_qk});
  all.push_back({.id = "qkv-split",
                 .group = "projections",
                 .name = "fused q, k, v split wrongly",
                 .explanation = "A matrix fused head group by head group is split as if q, k and v "
                                "were stored one after the other.",
                 .look_at = "how the fused qkv matrix is laid out",
                 .frequency = 2,
                 .variants = [](const Circumstances&) {
                   return only([](Hypothesis& h) {
                     h.weights.push_back({Kind::kQkvGrouped, Part::kQ, Part::kQ, 0});
                   });
                 }});
  all.push_back(
      {.id = "qk-permute",
       .group = "projections",
       .name = "rows of q_proj or k_proj permuted",
       .explanation = "The rows within each head were reordered for the other RoPE pairing.",
       .look_at = "the checkpoint's conversion; do this or an interleaved RoPE, not both",
       .frequency = 3,
       .variants = permuted});
  all.push_back(
      {.id = "shard-offset",
       .group = "weights",
       .name = "rows of a matrix shifted",
       .explanation = "The matrix begins at the wrong place, so each row has a neighbour's values.",
       .look_at = "offsets of shards and of tensors in the file",
       .frequency = 2,
       .variants = [](const Circumstances& at) {
         std::vector<Variant> rows;
         for (const std::int64_t n : {1, -1}) {
           for (Variant& v : of_matrices(at, Kind::kRowsShifted, n)) {
             v.detail += fmt::format(" by {:+}", n);
             rows.push_back(std::move(v));
           }
         }
         return rows;
       }});
  all.push_back(
      {.id = "tensor-missing",
       .group = "weights",
       .name = "a tensor left at zero",
       .explanation = "It was never loaded.",
       .look_at = "names that were requested but not found",
       .frequency = 2,
       .variants = [](const Circumstances& at) { return of_any_part(at, Kind::kZero, {0}, ""); }});
  all.push_back({.id = "tensor-of-other-layer",
                 .group = "weights",
                 .name = "a tensor of the layer before or after",
                 .explanation = "The tensor itself is right but belongs to another layer.",
                 .look_at = "the layer's number in the tensor's name, and reused buffers",
                 .frequency = 2,
                 .variants = [](const Circumstances& at) {
                   return of_any_part(at, Kind::kFromLayer, {1, -1}, " of layer l{:+}");
                 }});
  all.push_back({.id = "layer-order",
                 .group = "layers",
                 .name = "layers in the wrong order",
                 .explanation = "Each layer itself is right but runs in another's place.",
                 .look_at = "how the layers' names are sorted, and which index the loop uses",
                 .frequency = 2,
                 .variants = order_of_layers});
  all.push_back(
      {.id = "layer-missing",
       .group = "layers",
       .name = "a layer left out",
       .explanation =
           "The stream skips a layer (a loop that ends too early leaves out the last one).",
       .look_at = "the bounds of the loop over layers",
       .frequency = 2,
       .variants = left_out});
  return all;
}

}  // namespace assay
