// Rules for the names of a dump.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace assay {

// Rules for a dump's names, as its values show them: a draft, to be read before it is used.
struct MapDraft {
  struct Rule {
    std::string from;         // as in a file of rules: "blk.{layer}.q"
    std::string to;           // "layer_{layer}_q_proj"
    std::int64_t arrays = 0;  // that it names
    double error = 0;         // relative L2 from the tap, of the layer that fits best
  };
  std::vector<Rule> rules;        // in data-flow order
  std::vector<std::string> open;  // arrays that no tap's values are found in
  std::string prompt;             // by which it was told
};

}  // namespace assay
