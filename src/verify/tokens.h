// Compares the greedy text step by step.
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

// Logits of every position, [1, S, vocab] in FP32, with that numerics.
Array logits_over(Numerics numerics, const Model& model, std::span<const std::int64_t> ids,
                  ThreadPool& pool);

// The first difference within the shorter text: steps before it are matches, steps after it
// unknown.
TokenResult compare_tokens(std::span<const std::int64_t> reference,
                           std::span<const std::int64_t> candidate, std::size_t prompt_tokens);

// Judges the first difference by the logits of the position before it, if `logits` [.., P, V] has
// them: the distance between the two tokens' logits. Either engine's logits will do, since both ran
// the same text up to there.
void judge_split(TokenResult& tokens, const ArrayView& logits);

// The texts that a candidate's may equal.
struct KnownText {
  std::span<const std::int64_t> prompt;
  std::span<const std::int64_t> reference;   // prompt and continuation
  std::span<const std::int64_t> exact = {};  // the oracle's; empty: none
  std::span<const std::int64_t> ends = {};   // tokens that end a text; empty: unknown
};

// Compares the candidate's text with the reference's: prompt and continuation, or only new tokens.
// A first difference is judged by either engine's logits, if there are any (null: none). A text
// that equals the oracle's is right. One that goes on after an end token is wrong, but for padding.
// One that does not belong to the prompt is an error in the result; `where` names the array in it.
TokenResult judge_text(const KnownText& known, std::span<const std::int64_t> candidate,
                       const ArrayView* reference_logits, const ArrayView* candidate_logits,
                       std::string_view where);

// Runs the model once over the candidate's own text and judges at every step whether its token is
// the reference engine's choice there (kMatch), nearly so (kTie: within kTieSteps BF16 steps of it,
// or of an f64 run's), or not (kDiverged). Since each step is judged given the candidate's own
// text, an early tie does not condemn later tokens. An invalid token id ends the text (kDiverged),
// as does the longest sequence that the model allows. A text that goes on after an end token is
// wrong, but for padding. numerics: the reference's.
TokenResult replay_tokens(const std::filesystem::path& model, Numerics numerics,
                          std::span<const std::int64_t> reference,
                          std::span<const std::int64_t> candidate, std::size_t prompt_tokens,
                          ThreadPool& pool);

}  // namespace assay
