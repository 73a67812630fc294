// Turns the search's result into the diagnosis: mistakes, and the places of errors.
#pragma once

#include "assay/diagnose.h"
#include "diagnose/catalog.h"
#include "diagnose/scene.h"
#include "diagnose/search.h"

namespace assay {

Mistake mistake_of(const Entry& entry);

// Sets the diagnosis's findings, its first error, the unexplained errors and the verdict. result:
// of a search over the scene.
void add_findings(Diagnosis& d, const Scene& scene, const SearchResult& result);

}  // namespace assay
