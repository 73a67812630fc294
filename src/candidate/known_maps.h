// The maps that come along: src/candidate/maps, one file an engine.
#pragma once

#include <string>
#include <vector>

#include "candidate/name_rules.h"

namespace assay {

struct KnownMap {
  std::string name;
  std::vector<NameRule> rules;
};

// Where two know a name, the one that knows more of a dump's names is asked first, then the one
// that stands first here.
const std::vector<KnownMap>& known_maps();

// Their names, in that order: every start of the program asks for them, and few for the rules.
const std::vector<std::string>& known_map_names();

}  // namespace assay
