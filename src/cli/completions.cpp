#include "cli/completions.h"

#include <fmt/format.h>

#include <CLI/Option.hpp>
#include <algorithm>
#include <map>
#include <vector>

#include "cli/help_text.h"
#include "cli/option_values.h"

namespace assay {
namespace {

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != text.npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

// In single quotes, for bash and zsh.
std::string shell_quoted(const std::string& text) {
  return "'" + replaced(text, "'", "'\\''") + "'";
}

// The beginning of a description: menus have a line for each.
std::string in_short(const std::string& description) {
  std::size_t end = description.size();
  for (const std::string_view mark : {"; ", ": ", " (", ". ", ", e.g.", ", such as"}) {
    end = std::min(end, description.find(mark));
  }
  return description.substr(0, end);
}

std::vector<std::string> dashed_names(const CLI::Option& option) {
  std::vector<std::string> names;
  for (const std::string& name : option.get_snames()) names.push_back("-" + name);
  for (const std::string& name : option.get_lnames()) names.push_back("--" + name);
  return names;
}

std::vector<const CLI::Option*> options_of(const CLI::App& command, bool positional) {
  return command.get_options(
      [&](const CLI::Option* option) { return option->get_positional() == positional; });
}

// What arguments of a command may be; those of `help` are commands.
Completion argument_completion(const CLI::App& app, const CLI::App& command,
                               const CLI::Option& option) {
  if (command.get_name() != "help") return completion_of(option);
  Completion names;
  for (const CLI::App* other : shown_commands(app)) names.words.push_back(other->get_name());
  return names;
}

std::string bash_offer(const Completion& completion) {
  std::string text;
  if (!completion.words.empty()) {
    text += fmt::format(" _assay_words {};",
                        shell_quoted(fmt::format("{}", fmt::join(completion.words, " "))));
  }
  if (completion.files) text += " _assay_paths -f;";
  if (completion.directories) text += " _assay_paths -d;";
  return text.empty() ? " :;" : text;
}

// name: of the option. helpers: functions for what an action cannot say; one is added.
std::string zsh_action(const Completion& completion, const std::string& name,
                       std::map<std::string, std::string>& helpers) {
  // The shell expands the words.
  const std::string words =
      replaced(fmt::format("{}", fmt::join(completion.words, " ")), "*", "\\*");
  if (completion.files && !completion.words.empty()) {
    std::string helper = "_assay_" + name;
    helpers[helper] = fmt::format("{}() {{ compadd -- {}; _files }}\n", helper, words);
    return helper;
  }
  if (completion.files) return "_files";
  if (completion.directories) return "_files -/";
  return words.empty() ? " " : fmt::format("({})", words);
}

std::string zsh_text(const std::string& text) {
  std::string result;
  for (const char c : in_short(text)) {
    if (c == '[' || c == ']' || c == ':' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

std::string fish_quoted(const std::string& text) {
  return "'" + replaced(replaced(text, "\\", "\\\\"), "'", "\\'") + "'";
}

std::string fish_values(const Completion& completion) {
  std::string words;
  for (const std::string& word : completion.words) {
    words += (words.empty() ? "" : " ") + replaced(word, "*", "\\*");
  }
  std::string text = completion.files || completion.directories ? " -r" : " -x";
  if (completion.files) text += " -F";
  if (completion.directories) words = "(__fish_complete_directories)";
  if (!words.empty()) text += " -a " + fish_quoted(words);
  return text;
}

}  // namespace

std::string bash_completion(const CLI::App& app) {
  std::string text =
      R"(# Completion of assay's commands, options and values in bash; made by 'assay completion bash'.
_assay_words() {
  local found
  mapfile -t found < <(compgen -W "$1" -- "$cur")
  COMPREPLY+=("${found[@]}")
}
_assay_paths() {
  local found
  compopt -o filenames 2>/dev/null
  mapfile -t found < <(compgen "$1" -- "$cur")
  COMPREPLY+=("${found[@]}")
}
_assay() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command= i
  for ((i = 1; i < COMP_CWORD; ++i)); do
    # The command comes after the program's own options.
    if [[ ${COMP_WORDS[i]} != -* && ${COMP_WORDS[i]} != = && ${COMP_WORDS[i - 1]} != @(=|--color) ]]; then
      command=${COMP_WORDS[i]}
      break
    fi
  done
  # bash splits --option=value.
  if [[ $cur == = ]]; then
    cur=
  elif [[ $prev == = ]]; then
    prev=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  COMPREPLY=()
  case $command:$prev in
)";
  std::string names;
  std::string arguments;
  const auto add = [&](const CLI::App& command, const std::string& called) {
    std::vector<std::string> dashed;
    for (const CLI::Option* option : options_of(command, false)) {
      const std::vector<std::string> option_names = dashed_names(*option);
      dashed.insert(dashed.end(), option_names.begin(), option_names.end());
      if (is_switch(*option)) continue;
      std::vector<std::string> cases;
      for (const std::string& name : option_names)
        cases.push_back(fmt::format("{}:{}", called, name));
      text += fmt::format("    {}){} return ;;\n", fmt::join(cases, " | "),
                          bash_offer(completion_of(*option)));
    }
    names += fmt::format("      {}) _assay_words {} ;;\n", called.empty() ? "''" : called,
                         shell_quoted(fmt::format("{}", fmt::join(dashed, " "))));
    const std::vector<const CLI::Option*> positional = options_of(command, true);
    if (positional.empty()) return;
    arguments += fmt::format("    {}){} ;;\n", called,
                             bash_offer(argument_completion(app, command, *positional.front())));
  };
  std::vector<std::string> commands;
  add(app, "");
  for (const CLI::App* command : shown_commands(app)) {
    commands.push_back(command->get_name());
    add(*command, command->get_name());
  }
  text += "  esac\n  if [[ $cur == -* ]]; then\n    case $command in\n" + names +
          "    esac\n    return\n  fi\n  case $command in\n    '') _assay_words " +
          shell_quoted(fmt::format("{}", fmt::join(commands, " "))) + " ;;\n" + arguments +
          "  esac\n}\ncomplete -F _assay assay\n";
  return text;
}

std::string zsh_completion(const CLI::App& app) {
  std::map<std::string, std::string> helpers;
  const auto specs = [&](const CLI::App& command) {
    std::string text;
    for (const CLI::Option* option : options_of(command, false)) {
      const std::string help = zsh_text(option->get_description());
      const bool many = option->get_expected_max() >= CLI::detail::expected_max_vector_size;
      for (const std::string& name : dashed_names(*option)) {
        std::string spec = fmt::format("{}{}", many ? "*" : "", name);
        if (is_switch(*option)) {
          spec += fmt::format("[{}]", help);
        } else {
          spec += fmt::format(
              "{}[{}]:{}:{}", name.starts_with("--") ? "=" : "", help, option->get_lnames().front(),
              zsh_action(completion_of(*option), option->get_lnames().front(), helpers));
        }
        text += fmt::format(" \\\n        {}", shell_quoted(spec));
      }
    }
    for (const CLI::Option* option : options_of(command, true)) {
      const bool many = option->get_expected_max() >= CLI::detail::expected_max_vector_size;
      const std::string spec = fmt::format(
          "{}:{}:{}", many ? "*" : "", option_title(*option),
          zsh_action(argument_completion(app, command, *option), option->get_name(), helpers));
      text += fmt::format(" \\\n        {}", shell_quoted(spec));
    }
    return text;
  };
  std::string text =
      "_assay() {\n"
      "  local curcontext=$curcontext state line\n"
      "  typeset -A opt_args\n"
      "  local -a commands=(\n";
  std::string cases;
  for (const CLI::App* command : shown_commands(app)) {
    text += fmt::format(
        "    {}\n", shell_quoted(command->get_name() + ":" + zsh_text(command->get_description())));
    cases += fmt::format("    {})\n      _arguments{}\n      ;;\n", command->get_name(),
                         specs(*command));
  }
  text += "  )\n  _arguments -C" + specs(app) +
          " \\\n        '1:command:->command' '*::argument:->arguments'\n"
          "  case $state in\n"
          "    command) _describe command commands; return ;;\n"
          "    arguments) ;;\n"
          "    *) return ;;\n"
          "  esac\n"
          "  case $words[1] in\n" +
          cases +
          "  esac\n}\n"
          "if [ \"$funcstack[1]\" = _assay ]; then\n  _assay \"$@\"\nelse\n  compdef _assay "
          "assay\nfi\n";
  std::string start = "#compdef assay\n# Made by 'assay completion zsh'.\n";
  for (const auto& [helper, definition] : helpers) start += definition;
  return start + text;
}

std::string fish_completion(const CLI::App& app) {
  std::string text = "# Made by 'assay completion fish'.\ncomplete -c assay -f\n";
  const auto add = [&](const CLI::App& command, const std::string& condition) {
    for (const CLI::Option* option : options_of(command, false)) {
      text += fmt::format("complete -c assay -n {}", fish_quoted(condition));
      for (const std::string& name : option->get_snames()) text += " -s " + name;
      for (const std::string& name : option->get_lnames()) text += " -l " + name;
      if (!is_switch(*option)) text += fish_values(completion_of(*option));
      text += fmt::format(" -d {}\n", fish_quoted(in_short(option->get_description())));
    }
    for (const CLI::Option* option : options_of(command, true)) {
      const Completion completion = argument_completion(app, command, *option);
      text += fmt::format("complete -c assay -n {}{}\n", fish_quoted(condition),
                          completion.files           ? " -F"
                          : completion.words.empty() ? " -f"
                                                     : fish_values(completion));
    }
  };
  add(app, "__fish_use_subcommand");
  for (const CLI::App* command : shown_commands(app)) {
    text += fmt::format("complete -c assay -n __fish_use_subcommand -a {} -d {}\n",
                        command->get_name(), fish_quoted(in_short(command->get_description())));
    add(*command, "__fish_seen_subcommand_from " + command->get_name());
  }
  return text;
}

}  // namespace assay
