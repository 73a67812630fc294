#include "assay/diagnose.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "assay/error.h"
#include "base/float_mode.h"
#include "base/text.h"
#include "candidate/ids.h"
#include "candidate/prompt_pairs.h"
#include "candidate/reference_files.h"
#include "diagnose/ask_dump.h"
#include "diagnose/catalog.h"
#include "diagnose/findings.h"
#include "diagnose/locate.h"
#include "diagnose/scene.h"
#include "diagnose/search.h"
#include "diagnose/text_findings.h"
#include "diagnose/text_mistakes.h"
#include "diagnose/whole_run.h"
#include "formats/array_file.h"
#include "model/checkpoint.h"
#include "model/checkpoint_files.h"
#include "model/finite.h"

namespace assay {
namespace {

// The candidate's files, one per prompt.
std::vector<Evidence> read_all(const DiagnoseOptions& options, const Model& model,
                               std::vector<ExpectedTokens>& expected, ThreadPool& pool) {
  const NameMap map(options.map);
  std::vector<Evidence> all;
  if (!options.reference.empty()) {
    const Pairing pairing = pair_prompts(options.reference, options.candidate, options.prompt, map);
    for (const PromptPair& pair : pairing.prompts) {
      if (!pair.candidate) continue;
      const ReferenceFiles files(pair);
      const ArrayFile& reference = files.arrays();
      ExpectedTokens& own = expected.emplace_back();
      if (reference.contains("input_ids")) own.ids = read_ids(reference, "input_ids");
      if (reference.contains("generated_ids")) {
        own.generated = read_ids(reference, "generated_ids");
      }
      all.push_back(read_evidence(*pair.candidate, map, model, pair.id, &reference, pool));
    }
  } else {
    for (const PromptPair& pair : prompts_of(options.candidate)) {
      if (!options.prompt.empty() && pair.id != options.prompt) continue;
      all.push_back(read_evidence(*pair.candidate, map, model, pair.id, nullptr, pool));
    }
  }
  if (all.empty()) {
    throw usage_error("--prompt", "'" + options.prompt + "'",
                      "the name of one of the dump's files");
  }
  return all;
}

std::string what_is_seen(const Scene& scene) {
  const std::size_t layers = static_cast<std::size_t>(scene.spec().num_hidden_layers);
  std::size_t sites = 0;
  bool within_layers = false;
  bool outputs = false;
  for (const Evidence& e : scene.evidence()) {
    sites = std::max(sites, e.sites.size());
    for (const Site& site : e.sites) {
      const bool of_layer = is_layer_tap(site.place.tap);
      outputs = outputs || (site.place.tap == Tap::kLayerOutput &&
                            site.place.layer + 1 < scene.spec().num_hidden_layers);
      within_layers = within_layers || (of_layer && site.place.tap != Tap::kLayerOutput);
    }
  }
  if (sites == 0) return "text only";
  if (sites > layers * 8) return "every operation";
  if (within_layers) return "some operations";
  if (scene.segments().size() > layers) return "layer outputs";
  if (outputs) return "some layer outputs";
  return sites == 1 ? "logits only" : "only the end of the run";
}

// Of an engine whose arrays are exact but for their rounding when they were dumped.
void take_back_places(Diagnosis& d) {
  const bool of_text = std::ranges::any_of(d.unexplained, [](const Place& place) {
    return place.tap == "generated_ids" || place.tap == "input_ids";
  });
  if (of_text) return;
  d.unexplained.clear();
  d.first.reset();
  d.verdict = DiagnosisVerdict::kCorrect;
  d.notes.push_back(fmt::format(
      "every array is exact but for one rounding to {}: the engine computes in a wider type than "
      "it dumps. An FP32 dump shows smaller mistakes",
      d.rounding));
}

std::string summary_of(const Diagnosis& d) {
  const auto named = [&] {
    std::vector<std::string> names;
    for (const Finding& f : d.findings) {
      if (f.mistake.rounding && !f.detail.empty()) {
        std::string detail = f.detail;
        for (const Finding::Alternative& other : f.alternatives) {
          if (other.mistake.id == f.mistake.id) detail += fmt::format(" (or {})", other.detail);
        }
        names.push_back(fmt::format("{}, {}", detail, f.where));
        continue;
      }
      std::string name =
          fmt::format("{}{}{}", f.mistake.name, f.detail.empty() ? "" : ": ", f.detail);
      // The same mistake in other layers is listed once.
      if (std::ranges::find(names, name) == names.end()) names.push_back(std::move(name));
    }
    return fmt::format("{}", fmt::join(names, "; and "));
  };
  switch (d.verdict) {
    case DiagnosisVerdict::kCorrect:
      return "nothing is wrong: every tap is what a correct engine computes, within rounding";
    case DiagnosisVerdict::kRounding:
      return "no logic is wrong: " + named();
    case DiagnosisVerdict::kNamed:
      return named();
    case DiagnosisVerdict::kPartlyNamed:
      return named() + "; and something that no known mistake explains";
    case DiagnosisVerdict::kUnexplained:
      return fmt::format("no known mistake explains it; it begins {}",
                         d.first->is_one_operation
                             ? fmt::format("at {} ({})", d.first->tap, d.first->operation)
                             : d.first->operation);
    case DiagnosisVerdict::kIncomplete:
      break;  // count_unreadable() words this one
  }
  return {};
}

// Arrays with values that no engine can compute with: not finite, or expert ids out of range. If
// everything after them is right, they cause no other error.
std::vector<std::string> impossible_arrays(const Evidence& evidence, const ModelSpec& spec) {
  std::vector<std::string> found;
  for (const Site& site : evidence.sites) {
    if (site.is_attention()) continue;  // masked scores may be anything
    const bool is_ids = site.place.tap == Tap::kExpertIds;
    const auto is_wrong = [&](float value) {
      if (!is_ids) return !std::isfinite(value);
      return !(value >= 0 && value < static_cast<float>(spec.moe.num_experts)) ||
             value != std::floor(value);
    };
    const auto count = std::ranges::count_if(site.values, is_wrong);
    if (count == 0) continue;
    found.push_back(fmt::format("{}: '{}': {} of {} values are {}", shown(evidence.id),
                                shown(site.array_name), count, site.values.size(),
                                is_ids ? "not ids of experts" : "infinite or NaN"));
  }
  return found;
}

// With an unreadable array the verdict cannot be a success.
void count_unreadable(Diagnosis& d) {
  const bool correct = d.verdict == DiagnosisVerdict::kCorrect;
  if (d.unreadable.empty() || (!correct && d.verdict != DiagnosisVerdict::kRounding)) return;
  d.verdict = DiagnosisVerdict::kIncomplete;
  d.summary = fmt::format(
      "{} cannot be read; in the others {}",
      d.unreadable.size() == 1 ? "an array" : fmt::format("{} arrays", d.unreadable.size()),
      correct ? "nothing is wrong" : d.summary);
}

}  // namespace

std::string_view verdict_name(DiagnosisVerdict verdict) {
  switch (verdict) {
    case DiagnosisVerdict::kCorrect:
      return "correct";
    case DiagnosisVerdict::kRounding:
      return "rounding";
    case DiagnosisVerdict::kNamed:
      return "named";
    case DiagnosisVerdict::kPartlyNamed:
      return "partly named";
    case DiagnosisVerdict::kUnexplained:
      return "unexplained";
    case DiagnosisVerdict::kIncomplete:
      return "incomplete";
  }
  return "?";
}

std::vector<Mistake> known_mistakes() {
  std::vector<Mistake> all;
  const auto add = [&](const Entry& entry) { all.push_back(mistake_of(entry)); };
  for (const Entry& entry : text_catalog()) {
    if (entry.group == "tokens") add(entry);
  }
  for (const Entry& entry : catalog()) add(entry);
  for (const Entry& entry : text_catalog()) {
    if (entry.group != "tokens") add(entry);
  }
  return all;
}

Diagnosis diagnose(const DiagnoseOptions& options, const OnDiagnoseProgress& on_progress) {
  const DefaultFloatMode mode;
  const std::optional<ExpectedType> as = parse_expected(options.as);
  Numerics numerics = Numerics::kBf16;
  if (!options.reference.empty()) {
    const Pairing reference = read_reference(options.reference);
    // Captured of a type that has no program here.
    if (reference.prompts.front().modules && !reference.model) return locate(options, on_progress);
    numerics = reference.numerics;
  }
  Model model = load_model(options.model);
  if (!options.reference.empty()) expect_checkpoint_of(options.reference, options.model);
  require_finite(model.files);  // NaN hides every mistake
  model.stream.reset();         // hypotheses run the layers in any order
  ThreadPool pool(options.threads);
  if (on_progress) on_progress("reading", 0);
  std::vector<ExpectedTokens> expected;
  std::vector<Evidence> evidence = read_all(options, model, expected, pool);
  expected.resize(evidence.size());
  std::vector<std::string> impossible;
  Diagnosis d;
  d.candidate = options.candidate.string();
  for (const Evidence& e : evidence) {
    d.prompts.push_back(e.id);
    d.arrays += std::ssize(e.sites);
    const auto of_prompt = [&](const std::string& line) {
      return fmt::format("{}: {}", shown(e.id), line);
    };
    std::ranges::transform(e.notes, std::back_inserter(d.notes), of_prompt);
    std::ranges::transform(e.unreadable, std::back_inserter(d.unreadable), of_prompt);
    std::ranges::move(impossible_arrays(e, model.spec), std::back_inserter(impossible));
    if (!e.unmatched.empty()) {
      const bool one = e.unmatched.size() == 1;
      d.notes.push_back(fmt::format("{}: {} {} of this model{} {}", shown(e.id), e.unmatched.size(),
                                    one ? "array is not a tap" : "arrays are not taps",
                                    one ? ":" : ", e.g.", shown(e.unmatched.front())));
    }
  }
  if (on_progress) on_progress("replaying", 0);
  AskedDump asked =
      ask_dump(model, std::move(evidence), pool, as ? std::optional(grid_of(*as)) : std::nullopt);
  d.dump = std::move(asked.findings);
  const Scene& scene = *asked.scene;
  d.rounding = grid_name(scene.grid());
  d.seen = what_is_seen(scene);
  const bool tied = is_tied(model);
  const SearchResult result = search(scene, tied, [&](double fraction) {
    if (on_progress) on_progress("trying mistakes", fraction);
  });
  d.hypotheses = scene.runs();
  add_findings(d, scene, result);
  add_text_findings(d, model, scene.evidence(), expected, pool);
  std::vector<std::vector<TensorResult>> runs;
  for (const Evidence& e : scene.evidence()) {
    runs.push_back(compare_whole_run(model, e, numerics, as, pool));
  }
  if (d.verdict == DiagnosisVerdict::kUnexplained && is_exact_run(runs)) {
    take_back_places(d);
  }
  d.summary = summary_of(d);
  agree_with_compare(d, runs);
  if (d.verdict == DiagnosisVerdict::kCorrect || d.verdict == DiagnosisVerdict::kRounding) {
    std::ranges::move(impossible, std::back_inserter(d.unreadable));
  }
  count_unreadable(d);
  return d;
}

}  // namespace assay
