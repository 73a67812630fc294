// Mistakes before and after the forward pass: in the tokens, and in what is done with the logits.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "diagnose/catalog.h"
#include "model/model.h"
#include "tokenizer/tokenizer.h"

namespace assay {

// Entries without variants, since they are not hypotheses about the forward pass.
const std::vector<Entry>& text_catalog();

struct TextMistake {
  const Entry* entry = nullptr;
  std::string detail;
};

// Why the candidate's ids differ from the reference's. tokenizer: null if there is none. None: no
// known mistake explains it.
std::optional<TextMistake> explain_ids(std::span<const std::int64_t> reference,
                                       std::span<const std::int64_t> candidate,
                                       const Tokenizer* tokenizer);

// What is wrong with a greedy text if the logits are right.
struct TextVerdict {
  bool good = true;
  std::int64_t position = 0;  // of the first token that greedy decoding does not choose
  std::optional<TextMistake> mistake;
  // Tokens that the expected text has after a right one that no end token ends. No mistake: the
  // engine may have been asked for fewer.
  std::size_t missing = 0;
};
// The best token by the candidate's own logits for position `at`, which are known to be right; none
// where it has none.
using OwnBest = std::function<std::optional<std::int64_t>(std::size_t at)>;
// text: prompt and continuation. A token that own_best() gives is right. Where it gives another,
// the choice of the token is wrong; where it gives none, a wrong token may come from the forward
// pass, and only mistakes that explain the whole text are named. expected: the reference's text, if
// any.
TextVerdict explain_text(const Model& model, std::span<const std::int64_t> text,
                         std::size_t prompt_tokens, const OwnBest& own_best,
                         const std::optional<std::vector<std::int64_t>>& expected,
                         ThreadPool& pool);

}  // namespace assay
