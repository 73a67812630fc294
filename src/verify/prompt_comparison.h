// Compares one prompt: its arrays, experts, dump and text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>

#include "assay/comparison.h"
#include "base/thread_pool.h"
#include "candidate/name_map.h"
#include "candidate/prompt_pairs.h"
#include "model/model.h"
#include "models/spec.h"
#include "verify/dump_questions.h"
#include "verify/precision.h"
#include "verify/profile.h"

namespace assay {

// A measured and judged prompt. Only what other prompts may reveal about the dump is open.
struct MeasuredPrompt {
  PromptResult result;
  DumpProposals proposals;
  Precision precision;
  ModelSpec model;  // from the reference's config, or deduced from its names
  std::int64_t layers = 0;
  std::shared_ptr<const ModuleFlow> modules;  // a captured reference's; null: there are taps
};

// What holds for all prompts of a comparison.
struct ComparisonSetup {
  const Pairing& pairing;
  const NameMap& map;
  const Profile& profile;
  ThreadPool& pool;
  std::optional<ExpectedType> as;         // the type to expect; none: what the values show
  std::filesystem::path model_directory;  // to replay the candidate's text; empty: none is given
  const Model* model = nullptr;  // to measure noise that the manifest does not have; null: none
  bool details = false;          // TensorDetail for every tensor
};

// pair: one of the pairing's, with a candidate. on_progress: gets the share of the reference's
// bytes that is compared; may be null. Throws input errors.
MeasuredPrompt measure_prompt(const PromptPair& pair, const ComparisonSetup& setup,
                              std::function<void(double)> on_progress);

// Whether this prompt alone shows that q and k are interleaved in pairs (paired_channels).
bool shows_pairs(const MeasuredPrompt& prompt);

// The result, except the tokens' texts. paired: whether any prompt of the dump shows pairs.
PromptResult conclude(MeasuredPrompt prompt, bool paired, const Profile& profile);

}  // namespace assay
