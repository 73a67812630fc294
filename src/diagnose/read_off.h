// Reads the numbers of some mistakes directly from the candidate's arrays.
#pragma once

#include <vector>

#include "diagnose/catalog.h"
#include "diagnose/scene.h"
#include "diagnose/search.h"

namespace assay {

// Suspects in addition to what is known. They are not verified here.
std::vector<Suspect> read_off(const Scene& scene, const Circumstances& at, const Hypothesis& known);

// In read_off_rotation.cpp: computes the angle of each pair at each position from queries before
// and after their rotation, and from these the engine's positions or frequencies.
std::vector<Suspect> read_off_rotation(const Scene& scene, const Hypothesis& known);

// The entry of the catalog; it must exist.
const Entry* entry_of(std::string_view id);

}  // namespace assay
