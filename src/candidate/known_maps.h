// The built-in maps: src/candidate/maps, one file per engine.
#pragma once

#include <string>
#include <vector>

#include "candidate/name_rules.h"

namespace assay {

struct KnownMap {
  std::string name;
  std::vector<NameRule> rules;
};

// If several know a name, the one that knows more of a dump's names comes first, then the order
// here.
const std::vector<KnownMap>& known_maps();

// Their names, in that order. A list of its own, because every start of the program needs it, but
// few need the rules.
const std::vector<std::string>& known_map_names();

}  // namespace assay
