// assay: the command line.
#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <new>

#include "assay/error.h"
#include "base/atomic_file.h"
#include "cli/verbs.h"

namespace {

constexpr int kSystemFailed = static_cast<int>(assay::ErrorKind::kSystem);

int report(std::string_view message, int code) {
  fmt::print(stderr, "assay: error: {}\n", message);
  return code;
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
    return report("out of memory", kSystemFailed);
  } catch (const std::exception& error) {
    return report(error.what(), kSystemFailed);
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Reference activations from language-model checkpoints."};
  app.set_version_flag("--version", "assay " ASSAY_VERSION);
  app.require_subcommand(1);
  app.footer("Exit codes: 0 good, 1 check failed, 2 wrong usage, 3 bad input, 4 system failure.");
  assay::Action action;
  assay::add_doctor(app, action);
  assay::add_extract(app, action);
  assay::add_inspect(app, action);
  assay::add_generate(app, action);
  assay::add_tokenize(app, action);
  assay::add_synth(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const bool asked = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success);
    app.exit(error);
    return asked ? 0 : static_cast<int>(assay::ErrorKind::kUsage);
  }
  assay::remove_partial_files_on_signals();
  return guarded(action);
}
