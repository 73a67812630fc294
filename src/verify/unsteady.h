// Captured arrays that depend on a choice between nearly equal scores: which experts a token goes
// to.
#pragma once

#include <span>

#include "assay/comparison.h"
#include "candidate/module_flow.h"

namespace assay {

// Takes back failures that such a choice explains. A choice is unsteady at the positions that the
// manifest lists. Whether the candidate chose otherwise there shows in the first arrays that depend
// on the choice: at these positions alone they are wrong. Of later arrays, those positions are not
// judged that can be reached from there (ModuleArray::reach); arrays without positions not at all,
// however many rows an expert got. tensors: all of a prompt, judged.
void settle_choices(std::span<TensorResult> tensors, const ModuleFlow& modules);

}  // namespace assay
