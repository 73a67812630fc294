// What the search found, as the diagnosis says it: mistakes, and places where the run goes wrong.
#pragma once

#include "assay/diagnose.h"
#include "diagnose/catalog.h"
#include "diagnose/scene.h"
#include "diagnose/search.h"

namespace assay {

Mistake mistake_of(const Entry& entry);

// Sets the diagnosis's findings, the place where it goes wrong first, what is left unexplained, and
// the verdict that follows from them. result: of a search over the scene.
void add_findings(Diagnosis& d, const Scene& scene, const SearchResult& result);

}  // namespace assay
