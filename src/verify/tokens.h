// The greedy text, step by step.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "assay/comparison.h"
#include "assay/numerics.h"
#include "base/thread_pool.h"
#include "formats/array_file.h"
#include "model/model.h"

namespace assay {

// [1, S, vocab], FP32: logits of every position, in that numerics.
Array logits_over(Numerics numerics, const Model& model, std::span<const std::int64_t> ids,
                  ThreadPool& pool);

// Where the two texts first differ, as far as both go; steps up to there are matches, behind there
// unknown.
TokenResult compare_tokens(std::span<const std::int64_t> reference,
                           std::span<const std::int64_t> candidate, std::size_t prompt_tokens);

// Judges the first difference by the logits of the position before it, if `logits` [.., P, V] has
// them: how far apart the two tokens are there. Of either engine: up to there both ran the same
// text.
void judge_split(TokenResult& tokens, const ArrayView& logits);

// The candidate's text against the reference's: prompt and continuation, or the new tokens alone. A
// first difference is judged by the logits of either, where there are some (null: none). A text
// that has nothing to do with the prompt is an error in the result; `where` names the array in it.
TokenResult judge_text(std::span<const std::int64_t> prompt,
                       std::span<const std::int64_t> reference,
                       std::span<const std::int64_t> candidate, const ArrayView* reference_logits,
                       const ArrayView* candidate_logits, std::string_view where);

// Runs the model once over the candidate's own text and asks at every step whether its token is
// what the reference engine chooses there (kMatch), nearly so (kTie: within kTieSteps BF16 steps),
// or not (kDiverged). Each step is judged after the candidate's own text, so that a tie early on
// does not condemn what follows. A number that is no token of the model ends it there (kDiverged),
// as does the longest sequence that the model allows. numerics: the reference's.
TokenResult replay_tokens(const std::filesystem::path& model, Numerics numerics,
                          std::span<const std::int64_t> reference,
                          std::span<const std::int64_t> candidate, std::size_t prompt_tokens,
                          ThreadPool& pool);

}  // namespace assay
