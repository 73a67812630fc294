// Rules for the names of a dump.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace assay {

// Rules that were drafted from the values of a dump's arrays. Read them before use.
struct MapDraft {
  struct Rule {
    std::string from;         // as in a file of rules: "blk.{layer}.q"
    std::string to;           // "layer_{layer}_q_proj"
    std::int64_t arrays = 0;  // how many it renames
    double error = 0;         // relative L2 from the tap, in the layer that fits best
  };
  std::vector<Rule> rules;        // in data-flow order
  std::vector<std::string> open;  // arrays that match no tap's values
  std::string prompt;             // whose arrays were compared
};

}  // namespace assay
