// Tokens before the forward pass and the text after it: what is wrong with them, as findings.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "assay/diagnose.h"
#include "base/thread_pool.h"
#include "diagnose/evidence.h"
#include "model/model.h"

namespace assay {

// A prompt in the reference: its tokens, and its greedy text.
struct ExpectedTokens {
  std::optional<std::vector<std::int64_t>> ids;
  std::optional<std::vector<std::int64_t>> generated;
};

// Adds to a diagnosis whose forward pass is judged: with a wrong one another text is no surprise.
// expected: of each prompt of the evidence.
void add_text_findings(Diagnosis& d, const Model& model, const std::vector<Evidence>& evidence,
                       const std::vector<ExpectedTokens>& expected, ThreadPool& pool);

}  // namespace assay
