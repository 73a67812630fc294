// The options of the commands that read an engine's dump.
#include <fmt/format.h>

#include <string>
#include <string_view>

#include "candidate/name_map.h"
#include "cli/commands.h"

namespace assay {

void add_dump_names(CLI::App& command, std::string& prompt, std::string& map) {
  command.add_option("--prompt", prompt,
                     "The prompt's id, if the dump does not show which prompt it is for");
  command
      .add_option("--map", map,
                  fmt::format("How the dump's names map to taps: a .json file of rules, or an "
                              "engine ({}; default: all); may be repeated",
                              fmt::join(NameMap::known(), ", ")))
      ->join(',');
}

void add_expected_type(CLI::App& command, std::string& as, std::string_view note) {
  command
      .add_option("--as", as,
                  fmt::format("The precision to expect of the candidate: f32, f16, bf16 or q8 "
                              "(8-bit activations); default: what its values show{}",
                              note))
      ->check(CLI::IsMember({"f32", "f16", "bf16", "q8"}));
}

}  // namespace assay
