#include "diagnose/whole_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

#include "candidate/expert_slots.h"
#include "verify/compare_arrays.h"
#include "verify/expert_choices.h"
#include "verify/run_noise.h"

namespace assay {
namespace {

// The order of a token's experts may differ from run to run.
bool is_compared(const Site& site, const ModelSpec& spec) {
  const bool sparse = has_tap(Tap::kExpertIds, std::max<std::int64_t>(site.place.layer, 0), spec);
  return site.place.tap != Tap::kExpertIds && !has_expert_slots(site.place.tap, sparse);
}

// The candidate's values with the reference's axes.
ArrayView view_of(const Site& site, const ModelSpec& spec, std::size_t tokens) {
  Shape shape = tap_shape(site.place.tap, std::max<std::int64_t>(site.place.layer, 0), spec,
                          static_cast<std::int64_t>(tokens));
  if (site.last_only) shape.at(position_axis(site.place.tap)) = 1;
  return {site.name, DType::kF32, std::move(shape), std::as_bytes(std::span(site.values)), false};
}

}  // namespace

std::vector<TensorResult> compare_whole_run(const Model& model, const Evidence& evidence,
                                            Numerics numerics, std::optional<ExpectedType> as,
                                            ThreadPool& pool) {
  const Profile profile("noise", true);
  std::vector<TensorResult> results;
  TapSet taps(model.spec);
  for (const Site& site : evidence.sites) {
    if (!is_compared(site, model.spec)) continue;
    taps.add(site.name);
    TensorResult& result = results.emplace_back();
    result.name = site.name;
    if (site.place.layer >= 0) result.layer = site.place.layer;
  }
  if (results.empty()) return results;
  for (const Site& site : evidence.sites) {
    if (site.place.tap != Tap::kExpertIds || site.last_only) continue;
    taps.add(site.name);
    for (const std::string& scores : decided_by(site.place.layer, model.spec)) taps.add(scores);
  }
  std::map<std::string, Array> oracle;
  run_prompt(
      model, Numerics::kF64, evidence.ids, taps,
      [&](Array array) { oracle.emplace(array.name, std::move(array)); }, pool);
  ExpertChoices choices;
  Array router_scores;  // that decide on the experts of the layer being run
  const auto judge_choice = [&](const Array& ids, const Site& site) {
    const ArrayView own = ids.view();
    const ArrayView truth = oracle.at(ids.name).view();
    const ArrayView scores = router_scores.view();
    const ArrayView theirs = view_of(site, model.spec, evidence.ids.size());
    TensorResult result;
    choices.judge(result, site.place.layer,
                  {.reference = own,
                   .oracle = &truth,
                   .router_scores = &scores,
                   .candidate = theirs,
                   .groups = groups_of(model.spec)});
  };
  const auto measure = [&](const Array& reference) {
    const auto result = std::ranges::find(results, reference.name, &TensorResult::name);
    const auto site = std::ranges::find(evidence.sites, reference.name, &Site::name);
    const std::optional<TapPlace> place = parse_tap_name(reference.name);
    if (site != evidence.sites.end() && place->tap == Tap::kExpertIds) {
      return judge_choice(reference, *site);
    }
    if (place->tap == Tap::kRouterLogits || place->tap == Tap::kRouterScores) {
      router_scores = reference;
    }
    if (result == results.end()) return;
    const ArrayView own = reference.view();
    const ArrayView truth = oracle.at(reference.name).view();
    compare_arrays(*result,
                   {.reference = own,
                    .oracle = &truth,
                    .position_axis = position_axis(site->place.tap),
                    .numerics = numerics,
                    .same_until = choices.same_until(site->place)},
                   view_of(*site, model.spec, evidence.ids.size()), profile, nullptr);
  };
  run_prompt(model, numerics, evidence.ids, taps, measure, pool);
  Precision precision{as};
  const auto noise_of = [&](ExpectedType type) {
    return std::make_shared<TypeNoise>(run_noise(
        model, type, evidence.ids, taps,
        [&](const std::string& name) {
          return LoadedArray{oracle.at(name).view(), {}, {}};
        },
        pool));
  };
  const std::vector<std::optional<Grid>> types = types_of(results, precision);
  const auto is_wanted = [&](Grid type) {
    return std::ranges::find(types, std::optional(type)) != types.end();
  };
  if (as == ExpectedType::kQ8) {
    precision.q8 = noise_of(ExpectedType::kQ8);
  } else if (is_wanted(Grid::kF32) && numerics != Numerics::kF32) {
    precision.f32 = noise_of(ExpectedType::kF32);
  }
  if (is_wanted(Grid::kF16)) precision.f16 = noise_of(ExpectedType::kF16);
  judge_precision(results, precision, profile);
  return results;
}

bool is_exact_run(const std::vector<std::vector<TensorResult>>& runs) {
  bool any = false;
  for (const std::vector<TensorResult>& run : runs) {
    for (const TensorResult& tensor : run) {
      if (tensor.verdict == Verdict::kNotCompared) continue;
      const bool rounded = tensor.type == Grid::kBf16 || tensor.type == Grid::kF16;
      if (tensor.verdict != Verdict::kPass || !rounded || !tensor.oracle_error) return false;
      // Half a step of the type, and a little for what an FP32 engine itself is off.
      const double most = 1.01 * (tensor.type == Grid::kBf16 ? 0x1p-8 : 0x1p-11);
      const auto is_off = [&](double error) { return !(error <= most); };
      if (is_off(tensor.oracle_error->whole) ||
          std::ranges::any_of(tensor.oracle_error->positions, is_off)) {
        return false;
      }
      any = true;
    }
  }
  return any;
}

void agree_with_compare(Diagnosis& diagnosis, const std::vector<std::vector<TensorResult>>& runs) {
  const auto first = [&](Verdict verdict) {
    std::pair<std::size_t, const TensorResult*> found = {0, nullptr};
    std::optional<TapPlace> least;
    for (std::size_t p = 0; p < runs.size(); ++p) {
      const auto tensor = std::ranges::find(runs[p], verdict, &TensorResult::verdict);
      if (tensor == runs[p].end()) continue;
      const std::optional<TapPlace> place = parse_tap_name(tensor->name);
      if (least && !(*place < *least)) continue;
      least = place;
      found = {p, &*tensor};
    }
    return found;
  };
  const auto [failed_in, failed] = first(Verdict::kFail);
  const auto [coarse_in, coarse] = first(Verdict::kCoarse);
  if (diagnosis.verdict != DiagnosisVerdict::kCorrect) {
    if (failed == nullptr && coarse != nullptr) {
      diagnosis.notes.push_back(fmt::format(
          "all errors are within BF16's noise: compare calls it coarse, from {} on", coarse->name));
    }
    return;
  }
  const TensorResult* wrong = failed != nullptr ? failed : coarse;
  if (wrong == nullptr) return;
  Place place;
  place.prompt = diagnosis.prompts.at(failed != nullptr ? failed_in : coarse_in);
  place.tap = wrong->name;
  place.operation = "everything up to here: no single operation is wrong";
  place.is_one_operation = false;
  place.error = wrong->oracle_error->whole;
  place.noise = place.error / *(failed != nullptr ? wrong->noise_ratio : wrong->precision_ratio);
  diagnosis.verdict = DiagnosisVerdict::kUnexplained;
  diagnosis.first = place;
  diagnosis.unexplained.push_back(std::move(place));
  diagnosis.summary =
      failed != nullptr
          ? fmt::format(
                "no single operation is wrong, but the errors add up: compare fails {} "
                "({})",
                wrong->name, wrong->reason)
          : fmt::format("no single operation is wrong, but the errors add up: {} lies {}",
                        wrong->name, wrong->reason);
}

}  // namespace assay
