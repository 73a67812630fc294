// Mistakes whose numbers can be read off the candidate's arrays.
#pragma once

#include <vector>

#include "diagnose/catalog.h"
#include "diagnose/scene.h"
#include "diagnose/search.h"

namespace assay {

// On top of what is known already. Each still has to be tried: nothing here is believed.
std::vector<Suspect> read_off(const Scene& scene, const Circumstances& at, const Hypothesis& known);

// In read_off_rotation.cpp: from queries before and after their rotation, the angle of each pair at
// each position; from those, the positions or the frequencies that an engine had.
std::vector<Suspect> read_off_rotation(const Scene& scene, const Hypothesis& known);

// The entry of the catalog; it must be there.
const Entry* entry_of(std::string_view id);

}  // namespace assay
