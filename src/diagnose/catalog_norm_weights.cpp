// The catalog: norms that have each other's weights.
#include <fmt/format.h>

#include "diagnose/catalog_list.h"

namespace assay {
namespace {

using Kind = WeightChange::Kind;

// The layers' norms of hidden size that this model has.
std::vector<Part> wide_norms(const Program& program) {
  std::vector<Part> all;
  for (const Part part :
       {Part::kInputNorm, Part::kAttnPostNorm, Part::kMlpNorm, Part::kMlpPostNorm}) {
    if (has_part(program, part)) all.push_back(part);
  }
  return all;
}

// Any two of a layer's norms; of four norms, also two pairs at once.
std::vector<Variant> exchanged(const Circumstances& at) {
  const std::vector<Part> norms = wide_norms(at.program);
  std::vector<Variant> all;
  const auto change = [](Part a, Part b) { return WeightChange{Kind::kExchanged, a, b, 0}; };
  for (std::size_t i = 0; i < norms.size(); ++i) {
    for (std::size_t j = i + 1; j < norms.size(); ++j) {
      // With only two norms the entry's name says it all.
      const std::string detail = norms.size() == 2
                                     ? std::string()
                                     : fmt::format("{} and {}", part_name(at.spec, norms[i]),
                                                   part_name(at.spec, norms[j]));
      all.push_back({detail, [change, a = norms[i], b = norms[j]](Hypothesis& h) {
                       h.weights.push_back(change(a, b));
                     }});
    }
  }
  if (norms.size() != 4) return all;
  constexpr std::array<std::array<int, 4>, 3> kPairs = {{{0, 1, 2, 3}, {0, 2, 1, 3}, {0, 3, 1, 2}}};
  for (const auto& p : kPairs) {
    std::array<Part, 4> of{};
    for (std::size_t i = 0; i < 4; ++i) of[i] = norms[static_cast<std::size_t>(p[i])];
    all.push_back(
        {fmt::format("{} and {}, {} and {}", part_name(at.spec, of[0]), part_name(at.spec, of[1]),
                     part_name(at.spec, of[2]), part_name(at.spec, of[3])),
         [change, of](Hypothesis& h) {
           h.weights.push_back(change(of[0], of[1]));
           h.weights.push_back(change(of[2], of[3]));
         }});
  }
  return all;
}

bool have_equal_sizes(const ModelSpec& spec) {
  return !spec.qk_norms.full_width || spec.q_size() == spec.kv_size();
}

std::vector<Variant> of_one_for_both(const Circumstances& at, const std::vector<Part>& norms) {
  std::vector<Variant> all;
  for (const Part used : norms) {
    for (const Part missing : norms) {
      if (used == missing) continue;
      all.push_back(
          {fmt::format("{}'s also for {}", part_name(at.spec, used), part_name(at.spec, missing)),
           [used, missing](Hypothesis& h) {
             h.weights.push_back({Kind::kCopied, missing, used, 0});
           }});
    }
  }
  return all;
}

// The final norm's weight and one of the last or first layer, its neighbours in lists of names.
std::vector<Variant> with_final(const Circumstances& at) {
  std::vector<Variant> all;
  const std::int64_t last = at.spec.num_hidden_layers - 1;
  for (const Part part : wide_norms(at.program)) {
    for (const std::int64_t l :
         last == 0 ? std::vector<std::int64_t>{0} : std::vector<std::int64_t>{last, 0}) {
      const std::string name = fmt::format("{} of layer {}", part_name(at.spec, part), l);
      const Block& layer = at.program.layers[static_cast<std::size_t>(l)];
      const std::vector<const TensorUse*> tensors = tensors_of(layer, part);
      if (tensors.empty()) continue;
      const TensorUse tensor = *tensors.front();
      all.push_back({"swapped with " + name, [tensor, part, l](Hypothesis& h) {
                       use_as_final_norm(h.program, tensor);
                       h.weights.push_back({Kind::kFinalNorm, part, part, 0, {l}});
                     }});
      all.push_back(
          {"that of " + name, [tensor](Hypothesis& h) { use_as_final_norm(h.program, tensor); }});
    }
  }
  return all;
}

std::vector<Variant> sum_rounded(const Circumstances& at) {
  if (!at.spec.norm.one_plus) return {};
  return {{"1 + the norms' weights in BF16",
           [](Hypothesis& h) { h.weights.push_back({Kind::kOnePlusBf16}); }},
          {"1 + the norms' weights in F16",
           [](Hypothesis& h) { h.weights.push_back({Kind::kOnePlusF16}); }}};
}

}  // namespace

std::vector<Entry> norm_weight_entries() {
  std::vector<Entry> all;
  all.push_back({.id = "norms-swapped",
                 .group = "norms",
                 .name = "two layer norms' weights swapped",
                 .explanation = "Two norms of a layer have each other's weights.",
                 .look_at = "the names under which the norms are loaded or converted",
                 .frequency = 2,
                 .variants = exchanged});
  all.push_back({.id = "norm-weight-shared",
                 .group = "norms",
                 .name = "one norm's weight also used for another",
                 .explanation = "Two norms of a layer multiply by the same weight.",
                 .look_at = "the names under which the norms are loaded, and copied lines",
                 .variants = [](const Circumstances& at) {
                   return of_one_for_both(at, wide_norms(at.program));
                 }});
  all.push_back(
      {.id = "final-norm-weight",
       .group = "norms",
       .name = "wrong weight in the final norm",
       .explanation = "The final norm has the weight of a layer's norm, or the two are swapped.",
       .look_at = "the name under which the final norm is loaded",
       .variants = with_final});
  all.push_back(
      {.id = "norm-one-plus-lowp",
       .group = "norms",
       .name = "1 + norm weight is rounded",
       .explanation = "Most digits of a small weight are lost.",
       .look_at = "the type in which 1 is added, in the engine or when the checkpoint is converted",
       .frequency = 2,
       .rounding = true,
       .variants = sum_rounded});
  all.push_back({.id = "qk-norm-shared",
                 .group = "q/k norm",
                 .name = "one weight for query and key norm",
                 .explanation = "Queries and keys are multiplied by the same norm weight.",
                 .look_at = "the names under which q_norm and k_norm are loaded",
                 .frequency = 2,
                 .variants = [](const Circumstances& at) {
                   if (!at.spec.qk_norm || !have_equal_sizes(at.spec)) {
                     return std::vector<Variant>{};
                   }
                   return of_one_for_both(at, {Part::kQNorm, Part::kKNorm});
                 }});
  return all;
}

}  // namespace assay
