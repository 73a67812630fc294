// Findings about the tokens before the forward pass and the text after it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "assay/diagnose.h"
#include "base/thread_pool.h"
#include "diagnose/evidence.h"
#include "model/model.h"

namespace assay {

// The reference's tokens and greedy text for a prompt.
struct ExpectedTokens {
  std::optional<std::vector<std::int64_t>> ids;
  std::optional<std::vector<std::int64_t>> generated;
};

// Adds to a diagnosis whose forward pass has been judged: after a wrong one, a different text is
// expected. expected: for each prompt of the evidence.
void add_text_findings(Diagnosis& d, const Model& model, const std::vector<Evidence>& evidence,
                       const std::vector<ExpectedTokens>& expected, ThreadPool& pool);

}  // namespace assay
