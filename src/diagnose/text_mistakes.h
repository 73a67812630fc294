// Mistakes before and behind the forward pass: in the tokens, and in what is made of the logits.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "diagnose/catalog.h"
#include "model/model.h"
#include "tokenizer/tokenizer.h"

namespace assay {

// Entries without variants: they are no hypotheses about the forward pass.
const std::vector<Entry>& text_catalog();

struct TextMistake {
  const Entry* entry = nullptr;
  std::string detail;
};

// Why the candidate ran other ids than the reference's. tokenizer: null where there is none. None:
// no known mistake makes these of those.
std::optional<TextMistake> explain_ids(std::span<const std::int64_t> reference,
                                       std::span<const std::int64_t> candidate,
                                       const Tokenizer* tokenizer);

// What is wrong with a greedy text, when the logits are right.
struct TextVerdict {
  bool good = true;
  std::int64_t position = 0;  // of the first token that greedy decoding does not choose
  std::optional<TextMistake> mistake;
};
// text: prompt and continuation. logits_seen: whether the candidate's logits are known to be right;
// if not, a wrong token may as well come from the forward pass, and only mistakes that explain the
// whole text are named. expected: the reference's text, where there is one.
TextVerdict explain_text(const Model& model, std::span<const std::int64_t> text,
                         std::size_t prompt_tokens, bool logits_seen,
                         const std::optional<std::vector<std::int64_t>>& expected,
                         ThreadPool& pool);

}  // namespace assay
