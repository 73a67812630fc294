// The help of a command, 80 columns wide.
#pragma once

#include <CLI/App.hpp>
#include <string>
#include <vector>

namespace assay {

// The group of the options that every command has.
inline constexpr const char* kCommonOptions = "Common options";

// "assay", "assay compare".
std::string full_name(const CLI::App& command);
// "assay compare [OPTIONS] REFERENCE CANDIDATE".
std::string usage_line(const CLI::App& command);
// "NAME" of an argument, "-h, --help" or "--out DIR" of an option.
std::string option_title(const CLI::Option& option);
// What the option does, and its default.
std::string option_text(const CLI::Option& option);

// Options and arguments under a title, in the order of the help.
struct OptionGroup {
  std::string title;
  std::vector<const CLI::Option*> options;
};
std::vector<OptionGroup> option_groups(const CLI::App& command);
// The commands that the help lists.
std::vector<const CLI::App*> shown_commands(const CLI::App& app);

// A command's footer is its examples, a line each.
std::string help_text(const CLI::App& command);

}  // namespace assay
