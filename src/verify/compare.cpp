#include "assay/compare.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "assay/error.h"
#include "base/float_mode.h"
#include "base/thread_pool.h"
#include "candidate/name_map.h"
#include "candidate/prompt_pairs.h"
#include "model/checkpoint.h"
#include "model/checkpoint_files.h"
#include "tokenizer/tokenizer.h"
#include "verify/divergence.h"
#include "verify/precision.h"
#include "verify/profile.h"
#include "verify/prompt_comparison.h"
#include "verify/reference_source.h"

namespace assay {
namespace {

// The texts of all tokens in the report.
std::map<std::int64_t, std::string> texts_of(const std::vector<PromptResult>& prompts,
                                             const Tokenizer& tokenizer) {
  std::set<std::int64_t> ids;
  for (const PromptResult& prompt : prompts) {
    for (const TensorResult& tensor : prompt.tensors) {
      if (!tensor.logits) continue;
      for (const auto* side :
           {&tensor.logits->best_of_reference, &tensor.logits->best_of_candidate}) {
        for (const auto& position : *side) {
          for (const LogitMetrics::Score& score : position) ids.insert(score.id);
        }
      }
    }
    for (const TokenStep& step : prompt.tokens.steps) {
      ids.insert({step.reference_id, step.candidate_id});
    }
  }
  std::map<std::int64_t, std::string> texts;
  for (const std::int64_t id : ids) {
    if (id >= 0) texts[id] = tokenizer.decode({&id, 1});
  }
  return texts;
}

}  // namespace

CompareReport compare(const CompareOptions& options,
                      const std::function<void(std::string_view, double)>& on_progress) {
  const DefaultFloatMode mode;
  if (!options.model.empty()) expect_checkpoint_of(options.reference, options.model);
  const NameMap map(options.map);
  const Pairing pairing = pair_prompts(options.reference, options.candidate, options.prompt, map);
  const bool has_oracle = std::ranges::all_of(
      pairing.prompts, [](const PromptPair& p) { return p.oracle.has_value(); });
  const Profile profile =
      options.tolerance ? Profile(*options.tolerance) : Profile(options.profile, has_oracle);
  const std::optional<ExpectedType> as = parse_expected(options.as);
  if ((as == ExpectedType::kF16 || as == ExpectedType::kQ8) &&
      (options.model.empty() || !has_oracle)) {
    throw usage_error("--as",
                      fmt::format("{} without {}", options.as,
                                  has_oracle ? "--model" : "an oracle in the reference"),
                      "both: how far such an engine may lie is measured");
  }
  ThreadPool pool(options.threads);
  std::optional<Model> model;
  if (!options.model.empty() && has_oracle) {
    model.emplace(load_model(options.model));
    model->stream.reset();
  }
  CompareReport report;
  const ReferenceNotes notes = read_reference_notes(options.reference);
  sign(report, notes);
  report.reference = options.reference.string();
  report.candidate = options.candidate.string();
  report.profile = profile.name();
  report.statement = profile.statement();
  report.blind_spots = pairing.blind_spots;
  report.unused_files = pairing.unused_files;
  report.passed = true;
  bool any = false;
  const ComparisonSetup setup{.pairing = pairing,
                              .map = map,
                              .profile = profile,
                              .pool = pool,
                              .as = as,
                              .model_directory = options.model,
                              .model = model ? &*model : nullptr,
                              .details = options.details};
  std::vector<MeasuredPrompt> measured;
  for (std::size_t p = 0; p < pairing.prompts.size(); ++p) {
    const PromptPair& pair = pairing.prompts[p];
    if (!pair.candidate) {
      report.missing_prompts.push_back(pair.id);
      continue;
    }
    const auto progress = [&](double fraction) {
      if (!on_progress) return;
      on_progress("comparing " + pair.id, (static_cast<double>(p) + fraction) /
                                              static_cast<double>(pairing.prompts.size()));
    };
    measured.push_back(measure_prompt(pair, setup, progress));
  }
  // An engine lays out its arrays in the same way for every prompt.
  const bool paired = std::ranges::any_of(measured, shows_pairs);
  for (MeasuredPrompt& prompt : measured) {
    PromptResult& result =
        report.prompts.emplace_back(conclude(std::move(prompt), paired, profile));
    if (const auto texts = notes.tokens.find(result.id); texts != notes.tokens.end()) {
      result.tokens_text = texts->second;
    }
    report.passed = report.passed && result.passed;
    report.coarse = report.coarse || is_coarse(result);
    any = any || compared_anything(result);
  }
  report.precision = about_precision(report.prompts);
  if (options.details && !options.model.empty()) {
    if (const auto tokenizer = try_load_tokenizer(options.model)) {
      report.token_text = texts_of(report.prompts, *tokenizer);
      for (PromptResult& prompt : report.prompts) {
        prompt.tokens_text.clear();
        for (const std::int64_t id : prompt.input_ids) {
          prompt.tokens_text.push_back(tokenizer->decode({&id, 1}));
        }
      }
    }
  }
  if (!any) {
    throw input_error(
        options.candidate.string(), "none of its arrays is one of the reference's",
        "arrays named as taps, or a --map from their names (--suggest-map drafts one)");
  }
  return report;
}

}  // namespace assay
