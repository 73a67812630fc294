// What compare says of a candidate, where the model alone is at hand.
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

// The model's own run over the candidate's tokens is the reference, its f64 run the oracle; both
// are what extract writes. Each site of the evidence is measured and judged as compare does, by the
// profile "noise". numerics: the reference's.
std::vector<TensorResult> compare_whole_run(const Model& model, const Evidence& evidence,
                                            Numerics numerics, std::optional<ExpectedType> as,
                                            ThreadPool& pool);

// Where compare fails a candidate, or calls it coarse, of which every operation looks right by
// itself, the diagnosis says so too; and of what is wrong, whether it stays within BF16's noise.
// runs: of each prompt of the diagnosis, in its order.
void agree_with_compare(Diagnosis& diagnosis, const std::vector<std::vector<TensorResult>>& runs);

}  // namespace assay
