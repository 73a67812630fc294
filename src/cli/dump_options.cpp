// The options of the commands that read an engine's dump.
#include <fmt/format.h>

#include <filesystem>
#include <string>
#include <string_view>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/option_values.h"

namespace assay {

void add_dump_names(CLI::App& command, std::string& prompt, std::string& map) {
  command
      .add_option("--prompt", prompt,
                  "The prompt's id, if the dump does not show which prompt it is for")
      ->type_name("ID");
  command
      .add_option("--map", map,
                  "How the dump's names map to taps: an engine, such as vLLM, or a .json file of "
                  "rules; may be repeated (default: all engines; compare --list shows them)")
      ->type_name(kTakesMap)
      ->join(',');
}

void expect_reference_first(std::string_view command, const std::filesystem::path& reference,
                            const std::filesystem::path& candidate) {
  std::error_code ignored;
  const auto is_there = [&](const std::filesystem::path& path) {
    return std::filesystem::exists(path, ignored);
  };
  if (is_there(reference / "manifest.json") || !is_there(candidate / "manifest.json") ||
      !is_there(reference)) {
    return;
  }
  const std::string first = shown(candidate.string());
  print_error("warning", fmt::format("the reference comes first, and {} is one: did you mean "
                                     "'assay {} {} {}'?",
                                     first, command, first, shown(reference.string())));
}

void add_expected_type(CLI::App& command, std::string& as, std::string_view note) {
  take_one_of(command.add_option(
                  "--as", as,
                  fmt::format("The precision to expect of the candidate (q8: 8-bit activations; "
                              "default: what its values show){}",
                              note)),
              {"f32", "f16", "bf16", "q8"});
}

}  // namespace assay
