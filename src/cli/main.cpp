// assay: the command line.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "assay/error.h"
#include "base/partial_paths.h"
#include "cli/about.h"
#include "cli/commands.h"

namespace {

constexpr int kSystemFailed = static_cast<int>(assay::ErrorKind::kSystem);

// Prints one line, even where a file's name contains a line break.
int report(std::string_view message, int code) {
  assay::print_error(fmt::format("assay: error: {}", message));
  return code;
}

std::string usage_text(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  if (!app.get_subcommands().empty()) return fmt::format("{}; see --help", error.what());
  std::vector<std::string> commands;
  for (const CLI::App* command : app.get_subcommands(nullptr))
    commands.push_back(command->get_name());
  return fmt::format("{}; expected one of {}",
                     argc < 2 ? "no command" : fmt::format("unknown command '{}'", argv[1]),
                     fmt::join(commands, ", "));
}

// Runs the action; every failure becomes one line and an exit code.
int guarded(const assay::Action& action) {
  try {
    const int code = action();
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
      return report("standard output: cannot write", kSystemFailed);
    }
    return code;
  } catch (const assay::Error& error) {
    return report(error.what(), static_cast<int>(error.kind()));
  } catch (const std::bad_alloc&) {
    assay::say_out_of_memory();
    return kSystemFailed;
  } catch (const std::system_error& error) {
    // fmt throws this when standard output cannot be written to.
    return report(std::ferror(stdout) != 0 ? "standard output: cannot write" : error.what(),
                  kSystemFailed);
  } catch (const std::exception& error) {
    return report(error.what(), kSystemFailed);
  }
}

int print_licenses() {
  for (const std::string_view text : {assay::notices_text(), assay::license_text()}) {
    assay::print_text(text);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  assay::end_with_message_when_memory_is_out();
  CLI::App app{"Finds the first wrong tensor of a language model's port, and often names the bug."};
  app.set_version_flag("--version", std::string(assay::version_text()));
  app.require_subcommand(1);
  app.footer("Exit codes: 0 success, 1 check failed, 2 wrong usage, 3 bad input, 4 system error.");
  assay::Action action;
  app.add_flag_callback(
      "--licenses",
      [&action] {
        action = print_licenses;
        throw CLI::Success();
      },
      "Print the licences of Assay and of all that it contains");
  assay::add_doctor(app, action);
  assay::add_explain(app, action);
  assay::add_extract(app, action);
  assay::add_inspect(app, action);
  assay::add_compare(app, action);
  assay::add_diagnose(app, action);
  assay::add_generate(app, action);
  assay::add_tokenize(app, action);
  assay::add_synth(app, action);
  assay::add_bench(app, action);
  app.get_formatter()->label("SUBCOMMAND", "COMMAND");
  for (CLI::App* command : app.get_subcommands(nullptr)) command->group("Commands");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool asked = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success);
    if (!asked) {
      return report(usage_text(app, error, argc, argv), static_cast<int>(assay::ErrorKind::kUsage));
    }
    if (!action) action = [&] { return app.exit(error); };
    return guarded(action);
  }
  assay::remove_partial_files_on_signals();
  assay::end_with_message_when_a_mapped_file_is_lost();
  return guarded(action);
}
