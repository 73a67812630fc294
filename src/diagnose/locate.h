// Where an engine first goes wrong in a model that Assay does not compute itself.
#pragma once

#include "assay/diagnose.h"

namespace assay {

// For a reference that `assay capture` made of such a model: compares the candidate with it, and
// tells the first module whose output is wrong although its inputs are right. No mistake is named:
// that needs Assay's own forward pass. Throws as compare().
Diagnosis locate(const DiagnoseOptions& options, const OnDiagnoseProgress& on_progress);

}  // namespace assay
