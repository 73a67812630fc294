// assay help: the help of the program or of a command.
#include <CLI/Option.hpp>
#include <memory>

#include "cli/commands.h"
#include "cli/help_text.h"
#include "cli/usage.h"

namespace assay {
namespace {

int run(const CLI::App& app, const std::string& name) {
  if (name.empty()) {
    print(help_text(app));
    return 0;
  }
  const auto named = [&](const CLI::App* command) { return command->get_name() == name; };
  const std::vector<const CLI::App*> commands = app.get_subcommands(named);
  if (commands.empty()) throw unknown_command(app, name);
  print(help_text(*commands.front()));
  return 0;
}

}  // namespace

void add_help(CLI::App& app, Action& action) {
  auto name = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("help", "Show this help, or a command's");
  command->add_option("command", *name, "The command")->type_name("COMMAND");
  add_color(*command);
  command->callback([&app, name, &action] { action = [&app, name] { return run(app, *name); }; });
}

}  // namespace assay
