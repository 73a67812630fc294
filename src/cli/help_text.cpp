#include "cli/help_text.h"

#include <fmt/format.h>

#include <CLI/Option.hpp>
#include <algorithm>

#include "cli/option_values.h"
#include "report/table.h"

namespace assay {
namespace {

constexpr std::size_t kColumn = 24;

std::string upper(std::string text) {
  for (char& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

// A title, and its text beside it or below it.
std::string help_entry(const std::string& title, const std::string& text) {
  const std::string start = "  " + title;
  const std::string gap = start.size() + 2 <= kColumn ? std::string(kColumn - start.size(), ' ')
                                                      : "\n" + std::string(kColumn, ' ');
  return wrapped(start + gap + text + "\n", kColumn);
}

bool takes_many(const CLI::Option& option) {
  return option.get_expected_max() >= CLI::detail::expected_max_vector_size;
}

}  // namespace

std::string full_name(const CLI::App& command) {
  if (command.get_parent() == nullptr) return command.get_name();
  return full_name(*command.get_parent()) + " " + command.get_name();
}

std::string usage_line(const CLI::App& command) {
  std::string line = full_name(command) + " [OPTIONS]";
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_positional()) {
      const std::string name = option_title(*option) + (takes_many(*option) ? "..." : "");
      line += option->get_required() ? " " + name : " [" + name + "]";
    } else if (option->get_required()) {
      line += " " + option_title(*option);
    }
  }
  if (!command.get_subcommands([](const CLI::App*) { return true; }).empty()) line += " COMMAND";
  return line;
}

std::string option_title(const CLI::Option& option) {
  if (option.get_positional()) return upper(option.get_name(true, false));
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  const std::string type = type_of(option);
  return fmt::format("{}{}{}", fmt::join(names, ", "), type.empty() ? "" : " ", type);
}

std::string option_text(const CLI::Option& option) {
  std::string text = option.get_description();
  std::string value = option.get_default_str();
  std::erase_if(value, [](char c) { return c == '[' || c == ']'; });  // of a list
  if (is_switch(option) || value.empty()) return text;
  return fmt::format("{} (default: {})", text, value);
}

std::vector<OptionGroup> option_groups(const CLI::App& command) {
  std::vector<OptionGroup> groups = {{"Arguments", {}}, {"Options", {}}};
  OptionGroup common = {kCommonOptions, {}};
  for (const CLI::Option* option : command.get_options()) {
    const std::string& name = option->get_group();
    if (name.empty()) continue;
    const std::string title = option->get_positional() ? "Arguments" : name;
    if (title == kCommonOptions) {
      common.options.push_back(option);
      continue;
    }
    auto group = std::ranges::find(groups, title, &OptionGroup::title);
    if (group == groups.end()) group = groups.insert(groups.end(), OptionGroup{title, {}});
    group->options.push_back(option);
  }
  groups.push_back(std::move(common));
  std::erase_if(groups, [](const OptionGroup& group) { return group.options.empty(); });
  return groups;
}

std::vector<const CLI::App*> shown_commands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* command) { return !command->get_group().empty(); });
}

std::string help_text(const CLI::App& command) {
  std::string text = wrapped(command.get_description() + "\n", 0);
  text += wrapped(fmt::format("\nUsage: {}\n", usage_line(command)), 7);
  std::string group;
  for (const CLI::App* c : shown_commands(command)) {
    if (c->get_group() != group) text += fmt::format("\n{}:\n", group = c->get_group());
    text += help_entry(c->get_name(), c->get_description());
  }
  for (const OptionGroup& options : option_groups(command)) {
    text += fmt::format("\n{}:\n", options.title);
    for (const CLI::Option* option : options.options) {
      text += help_entry(option_title(*option), option_text(*option));
    }
  }
  const std::string examples = command.get_footer();
  if (!examples.empty()) {
    text += "\nExamples:\n";
    for (std::size_t begin = 0; begin < examples.size();) {
      const std::size_t end = std::min(examples.find('\n', begin), examples.size());
      text += fmt::format("  {}\n", examples.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  if (command.get_parent() == nullptr) {
    text += fmt::format("\n'{} help COMMAND' shows a command's options.\n", command.get_name());
  }
  text +=
      wrapped("\nExit codes: 0 success, 1 check failed, 2 usage, 3 input, 4 system error.\n", 12);
  return text;
}

}  // namespace assay
