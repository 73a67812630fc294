#include "cli/usage.h"

#include <fmt/format.h>

#include <CLI/Option.hpp>
#include <algorithm>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

#include "base/nearest_name.h"
#include "base/text.h"
#include "cli/help_text.h"
#include "cli/option_values.h"

namespace assay {
namespace {

std::string see_help(const CLI::App& command) {
  return fmt::format("see '{} --help'", full_name(command));
}

std::vector<std::string> long_options(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// The commands that have the option.
std::vector<std::string> commands_with(const CLI::App& app, const std::string& option) {
  std::vector<std::string> names;
  for (const CLI::App* command : shown_commands(app)) {
    if (command->get_option_no_throw(option) != nullptr) names.push_back(command->get_name());
  }
  return names;
}

Error unknown_option(const CLI::App& app, const CLI::App& command, const std::string& option) {
  const std::vector<std::string> elsewhere = commands_with(app, option);
  std::string hint;
  if (command.get_option_no_throw(option) != nullptr || (&command == &app && !elsewhere.empty())) {
    hint = "; put it after the command";
  } else if (!elsewhere.empty()) {
    hint = fmt::format("; it is an option of {}", fmt::join(elsewhere, ", "));
  } else {
    hint = did_you_mean(option, long_options(command));
  }
  return usage_error(command.get_name(),
                     fmt::format("unknown option '{}'{}", shown(option),
                                 hint.empty() ? "; " + see_help(command) : hint));
}

// The name before the colon in CLI11's messages, as an option of the command.
const CLI::Option* option_in(const CLI::App& command, std::string_view message) {
  const std::string_view name = message.substr(0, message.find(':'));
  return name.empty() ? nullptr : command.get_option_no_throw(std::string(name));
}

}  // namespace

Error unknown_command(const CLI::App& app, const std::string& name) {
  std::vector<std::string> known;
  for (const CLI::App* command : shown_commands(app)) known.push_back(command->get_name());
  const std::string hint = did_you_mean(name, known);
  return usage_error(
      "", fmt::format("unknown command '{}'{}", shown(name), hint),
      hint.empty() ? fmt::format("one of {}", fmt::join(known, ", ")) : std::string());
}

Error usage_of(const CLI::App& app, const CLI::ParseError& error) {
  const std::vector<CLI::App*> called = app.get_subcommands();
  const CLI::App& command = called.empty() ? app : *called.front();
  // CLI11 reports other errors first.
  const std::vector<std::string> unknown = app.remaining(true);
  const bool begins_with_word = !unknown.empty() && !unknown.front().starts_with('-');
  if (&command == &app && begins_with_word) return unknown_command(app, unknown.front());
  for (const std::string& word : unknown) {
    if (!word.starts_with('-') || word == "-" || word == "--") continue;
    return unknown_option(app, command, word.substr(0, word.find('=')));
  }
  const bool unexpected = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr;
  if (unexpected && !unknown.empty()) {
    std::error_code ignored;
    const bool is_model = command.get_option_no_throw("--model") != nullptr &&
                          std::filesystem::exists(unknown.front(), ignored);
    return usage_error(
        command.get_name(),
        fmt::format("unexpected argument '{}'; {}", shown(unknown.front()),
                    is_model ? fmt::format("a model is given as --model {}", shown(unknown.front()))
                             : "the usage is: " + usage_line(command)));
  }
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr) {
    for (const CLI::Option* option : command.get_options()) {
      if (!option->get_required() || option->count() > 0) continue;
      return usage_error(command.get_name(),
                         fmt::format("no {} ({}); the usage is: {}", option_title(*option),
                                     option->get_description(), usage_line(command)));
    }
  }
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    if (const CLI::Option* option = option_in(command, error.what())) {
      return usage_error(
          fmt::format("{} {}", command.get_name(), option->get_name()),
          is_switch(*option) ? "a value" : "no value",
          is_switch(*option) ? "none: this option is a switch" : option_title(*option));
    }
  }
  if (dynamic_cast<const CLI::ValidationError*>(&error) != nullptr) {
    return usage_error("", error.what());
  }
  return usage_error(command.get_name(), fmt::format("{}; {}", error.what(), see_help(command)));
}

}  // namespace assay
