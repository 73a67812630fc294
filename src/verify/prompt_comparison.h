// One prompt of a comparison: its arrays, its experts, its dump and its text.
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

// A prompt of which all is measured and judged but what other prompts may say of the dump.
struct MeasuredPrompt {
  PromptResult result;
  DumpProposals proposals;
  Precision precision;
  ModelSpec model;  // as the reference's config has it, or what its names tell of it
  std::int64_t layers = 0;
};

// What holds for all prompts of a comparison.
struct ComparisonSetup {
  const Pairing& pairing;
  const NameMap& map;
  const Profile& profile;
  ThreadPool& pool;
  std::optional<ExpectedType> as;         // the type to expect; none: what the values show
  std::filesystem::path model_directory;  // to replay the candidate's text; empty: none is given
  const Model* model = nullptr;  // to measure noise that the manifest does not say; null: none
  bool details = false;          // TensorDetail for every tensor
};

// pair: one of the pairing's, with a candidate. on_progress: gets the share of the reference's
// bytes that is compared; may be null. Throws input errors.
MeasuredPrompt measure_prompt(const PromptPair& pair, const ComparisonSetup& setup,
                              std::function<void(double)> on_progress);

// Whether the prompt by itself shows that q and k are in pairs (paired_channels).
bool shows_pairs(const MeasuredPrompt& prompt);

// The whole result, but the tokens' texts. paired: some prompt of the dump shows it.
PromptResult conclude(MeasuredPrompt prompt, bool paired, const Profile& profile);

}  // namespace assay
