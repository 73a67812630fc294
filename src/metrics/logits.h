// Metrics of logits only: the best tokens, how close they are, and the distributions.
#pragma once

#include "assay/array.h"
#include "assay/metrics.h"
#include "metrics/metrics.h"

namespace assay {

// The step between neighbouring BF16 values at |x|.
double bf16_step(double x);

// Up to this many BF16 steps between the two best logits, either choice is right: correct engines
// round differently.
constexpr double kTieSteps = 2;

// pool: null to use only this thread. An empty array gives no flips and an agreement of 1.
LogitMetrics measure_logits(const ArrayView& reference, const ArrayView& candidate,
                            const Layout& layout, ThreadPool* pool);

}  // namespace assay
