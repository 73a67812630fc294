#include "diagnose/catalog.h"

#include <algorithm>
#include <utility>

#include "diagnose/catalog_list.h"

namespace assay {

using Kind = WeightChange::Kind;

namespace {

// Whether one layer can use the other's weights.
bool have_equal_tensors(const Block& a, const Block& b) {
  return std::ranges::equal(a.steps, b.steps, [](const Step& x, const Step& y) {
    return std::ranges::equal(x.tensors, y.tensors, [](const TensorUse& v, const TensorUse& w) {
      return v.rows == w.rows && v.cols == w.cols && v.count == w.count;
    });
  });
}

}  // namespace

bool is_possible(const Hypothesis& h, const ModelSpec& own, const Program& program) {
  for (const WeightChange& change : h.weights) {
    const bool of_two = change.kind == Kind::kExchanged || change.kind == Kind::kCopied;
    if (of_two && !has_part(program, change.other)) return false;
    if (!has_part(program, change.part)) return false;
  }
  for (std::size_t l = 0; l < h.order.size(); ++l) {
    if (h.order[l] < 0) continue;
    const Block& from = program.layers[static_cast<std::size_t>(h.order[l])];
    if (!have_equal_tensors(program.layers[l], from)) return false;
  }
  // Longrope has one factor per rotated pair.
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
    return h == own || !is_possible(h, at.spec, at.program);
  });
  return all;
}

const std::vector<Entry>& catalog() {
  static const std::vector<Entry> entries = [] {
    std::vector<Entry> all;
    for (auto* part :
         {embedding_entries, weight_entries, head_entries, norm_entries, norm_weight_entries,
          rope_entries, rotary_entries, attention_entries, delta_entries, mlp_entries,
          expert_entries, gemma4_entries, quantized_entries, rounding_entries, foreign_entries}) {
      for (Entry& entry : part()) all.push_back(std::move(entry));
    }
    return all;
  }();
  return entries;
}

}  // namespace assay
