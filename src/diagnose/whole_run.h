// What compare reports for a candidate when there is only the model.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "assay/comparison.h"
#include "assay/diagnose.h"
#include "assay/numerics.h"
#include "base/thread_pool.h"
#include "diagnose/evidence.h"
#include "model/model.h"
#include "verify/precision.h"

namespace assay {

// The model's own run over the candidate's tokens is the reference, and its f64 run the oracle, as
// extract writes them. Each site is measured and judged as compare does, with the profile "noise".
// numerics: the reference's.
std::vector<TensorResult> compare_whole_run(const Model& model, const Evidence& evidence,
                                            Numerics numerics, std::optional<ExpectedType> as,
                                            ThreadPool& pool);

// Whether all arrays are exact, but for one rounding to the type of their values: the engine
// computes in a wider type, and rounded what it dumped. Then operations seem wrong if they are
// computed from the rounded values.
bool is_exact_run(const std::vector<std::vector<TensorResult>>& runs);

// If compare fails a candidate, or calls it coarse, although every single operation looks right,
// the diagnosis reports that too; and if something is wrong, whether it is within BF16's noise.
// runs: of the diagnosis's prompts, in order.
void agree_with_compare(Diagnosis& diagnosis, const std::vector<std::vector<TensorResult>>& runs);

}  // namespace assay
