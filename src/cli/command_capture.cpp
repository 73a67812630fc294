// assay capture: reference activations of any transformers model, by Assay's Python package.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <vector>

#include "assay/error.h"
#include "cli/commands.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAdvice =
    "install Python 3.11 or newer and `pip install numpy torch transformers`; ASSAY_PYTHON may "
    "name "
    "an interpreter that has them";

// The package may lie in a source tree or beside the program, where Python does not look.
constexpr const char* kStart = R"(import sys
try:
    from assay.capture.__main__ import main
except ModuleNotFoundError as error:
    print(f"assay: error: capture needs the Python package {error.name}: pip install it for"
          f" {sys.executable}, or name another interpreter in ASSAY_PYTHON", file=sys.stderr)
    sys.exit(4)
sys.exit(main())
)";

fs::path own_directory() {
  std::error_code ignored;
  return fs::read_symlink("/proc/self/exe", ignored).parent_path();
}

// $ASSAY_PYTHON, the interpreter of the environment that the program is installed in, or python3.
std::string interpreter() {
  if (const char* named = std::getenv("ASSAY_PYTHON"); named != nullptr && *named != '\0') {
    return named;
  }
  const fs::path beside = own_directory() / "python3";
  return ::access(beside.c_str(), X_OK) == 0 ? beside.string() : "python3";
}

void let_python_find_the_package() {
  const fs::path installed = (own_directory() / ASSAY_PYTHON_FROM_PROGRAM).lexically_normal();
  for (const fs::path& root : {installed, fs::path(ASSAY_SOURCE_PYTHON)}) {
    std::error_code ignored;
    if (!fs::exists(root / "assay" / "capture" / "__main__.py", ignored)) continue;
    const char* before = std::getenv("PYTHONPATH");
    const bool none = before == nullptr || *before == '\0';
    const std::string all = none ? root.string() : fmt::format("{}:{}", before, root.string());
    ::setenv("PYTHONPATH", all.c_str(), 1);
    return;
  }
}

// Becomes the Python program, which reads the rest of the command line itself.
int run(const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {interpreter(), "-c", kStart};
  words.insert(words.end(), arguments.begin(), arguments.end());
  let_python_find_the_package();
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  throw system_error(words[0], fmt::format("cannot run; {}", kAdvice), errno);
}

}  // namespace

void add_capture(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand(
      "capture", "Write reference activations of any transformers model (needs Python and torch)");
  // All of its arguments are Python's, --help too.
  command->set_help_flag();
  command->prefix_command();
  command->callback([command, &action] {
    action = [arguments = command->remaining()] { return run(arguments); };
  });
}

}  // namespace assay
