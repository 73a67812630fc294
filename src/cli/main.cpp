// assay: the command line.
#include <fmt/format.h>

#include <CLI/Option.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "assay/error.h"
#include "base/partial_paths.h"
#include "cli/about.h"
#include "cli/commands.h"
#include "cli/help_text.h"
#include "cli/usage.h"

namespace {

using assay::ErrorKind;

// Whether the command line asks for JSON, also where it cannot be parsed.
bool asks_for_json(std::span<char*> words) {
  for (const std::string_view word : words) {
    if (word == "--") return false;
    if (word == "--json") return true;
  }
  return false;
}

// Prints the error as a line, and with --json also as JSON. Returns the exit code.
int fail(const assay::Error& error, bool json) {
  assay::print_error("error", error.what());
  if (json) {
    try {
      assay::print_json(assay::error_json(error));
    } catch (const std::system_error&) {
      // Standard output cannot be written to; the line has been.
    }
  }
  std::fflush(stdout);
  return static_cast<int>(error.kind());
}

assay::Error system_failure(std::string_view what) {
  return {ErrorKind::kSystem, std::ferror(stdout) != 0 ? "standard output" : "",
          std::ferror(stdout) != 0 ? "cannot write" : what};
}

// Runs the action; every failure becomes one line and an exit code.
int guarded(bool json, const assay::Action& action) {
  try {
    const int code = action();
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) return fail(system_failure(""), json);
    return code;
  } catch (const assay::Error& error) {
    return fail(error, json);
  } catch (const std::bad_alloc&) {
    assay::say_out_of_memory();
    return static_cast<int>(ErrorKind::kSystem);
  } catch (const std::exception& error) {
    // fmt throws std::system_error when standard output cannot be written to.
    return fail(system_failure(error.what()), json);
  }
}

int print_licenses() {
  for (const std::string_view text : {assay::notices_text(), assay::license_text()}) {
    assay::print_text(text);
  }
  return 0;
}

int print_version(bool json) {
  if (json) {
    assay::print_json({{"schema", "assay.version/1"}, {"version", ASSAY_VERSION}});
  } else {
    assay::print(std::string(assay::version_text()) + "\n");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  assay::end_with_message_when_memory_is_out();
  const bool json = asks_for_json({argv + 1, static_cast<std::size_t>(std::max(argc - 1, 0))});
  CLI::App app{"Finds the first wrong tensor of a language model's port, and often names the bug.",
               "assay"};
  app.formatter_fn([](const CLI::App* command, const std::string&, CLI::AppFormatMode) {
    return assay::help_text(*command);
  });
  app.set_help_flag("-h,--help", "Print this help");
  app.require_subcommand(0, 1);
  bool version = false;
  bool json_flag = false;
  assay::Action action;
  assay::add_commands(app, action);
  app.add_flag("-V,--version", version, "Print the version")->group(assay::kCommonOptions);
  bool licenses = false;
  app.add_flag("--licenses", licenses, "Print the licences of Assay and of all that it contains")
      ->group(assay::kCommonOptions);
  assay::add_common(app, json_flag, "Print JSON (with --version)");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success&) {
    const std::vector<CLI::App*> called = app.get_subcommands();
    const std::vector<std::string> unknown = app.remaining();
    if (called.empty() && !unknown.empty()) {
      return fail(assay::unknown_command(app, unknown.front()), json);
    }
    return guarded(json, [&] {
      assay::print(assay::help_text(called.empty() ? app : *called.front()));
      return 0;
    });
  } catch (const CLI::ParseError& error) {
    return fail(assay::usage_of(app, error), json);
  }
  if (version) return guarded(json, [&] { return print_version(json_flag); });
  if (licenses) return guarded(json, print_licenses);
  if (!action) {
    action = [&] {
      assay::print(assay::help_text(app));
      return 0;
    };
  } else if (json_flag) {
    return fail(assay::usage_error("--json", "before the command", "after it"), json);
  }
  assay::remove_partial_files_on_signals();
  assay::end_with_message_when_a_mapped_file_is_lost();
  return guarded(json, action);
}
