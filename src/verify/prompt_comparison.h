// One prompt of a comparison: its arrays, its experts, its dump and its text.
#pragma once

#include <functional>

#include "assay/compare.h"
#include "base/thread_pool.h"
#include "candidate/name_map.h"
#include "candidate/prompt_pairs.h"
#include "model/model.h"
#include "verify/profile.h"

namespace assay {

// pair: one of the pairing's, with a candidate. model: to measure noise that the manifest does not
// say; null: none is given. on_progress: the share of the reference's bytes that is compared; null:
// nobody asks. All but `passed` and the tokens' text is filled in. Throws input errors.
PromptResult compare_prompt(const CompareOptions& options, const PromptPair& pair,
                            const Pairing& pairing, const NameMap& map, const Profile& profile,
                            const Model* model, ThreadPool& pool,
                            std::function<void(double)> on_progress);

}  // namespace assay
