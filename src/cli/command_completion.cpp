// assay completion: completion scripts for shells. And a hidden command for the build, which writes
// these and the manual pages as they are installed.
#include <CLI/Option.hpp>
#include <filesystem>
#include <memory>

#include "assay/error.h"
#include "cli/commands.h"
#include "cli/completions.h"
#include "cli/help_text.h"
#include "cli/man_pages.h"
#include "cli/option_values.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

void write_share_file(const fs::path& path, const std::string& text) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (error) throw system_error(path.parent_path().string(), "cannot create", error.value());
  write_text_file(path.string(), text);
}

int write_share(const CLI::App& app, const fs::path& directory) {
  const auto write_page = [&](const CLI::App& command) {
    write_share_file(directory / "man/man1" / (man_page_name(command) + ".1"), man_page(command));
  };
  write_page(app);
  for (const CLI::App* command : shown_commands(app)) write_page(*command);
  write_share_file(directory / "bash-completion/completions/assay", bash_completion(app));
  write_share_file(directory / "zsh/site-functions/_assay", zsh_completion(app));
  write_share_file(directory / "fish/vendor_completions.d/assay.fish", fish_completion(app));
  return 0;
}

}  // namespace

void add_completion(CLI::App& app, Action& action) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("completion", "Print a shell's completion script");
  take_one_of(command->add_option("shell", *shell, "bash, zsh or fish"), {"bash", "zsh", "fish"})
      ->required();
  add_color(*command);
  command->footer(
      "eval \"$(assay completion bash)\"\n"
      "assay completion fish > ~/.config/fish/completions/assay.fish");
  command->callback([&app, shell, &action] {
    action = [&app, shell] {
      print(*shell == "bash"  ? bash_completion(app)
            : *shell == "zsh" ? zsh_completion(app)
                              : fish_completion(app));
      return 0;
    };
  });
}

void add_write_share(CLI::App& app, Action& action) {
  auto directory = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("write-share", "Write manual pages and completions");
  command->group("");  // not in the help
  command->add_option("directory", *directory, "The share directory")->required()->type_name("DIR");
  command->callback([&app, directory, &action] {
    action = [&app, directory] { return write_share(app, *directory); };
  });
}

}  // namespace assay
