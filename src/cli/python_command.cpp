#include "cli/python_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "assay/error.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

// Arguments: the command, its module, what it needs, and then the command line.
constexpr const char* kStart = R"(import importlib, sys
name, module, needs = sys.argv[1:4]
sys.argv[1:4] = []
try:
    main = importlib.import_module(module).main
except ModuleNotFoundError as error:
    print(f"assay: error: {name} needs the Python package {error.name}: pip install {needs} for"
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

// The package may lie in a source tree or beside the program, where Python does not look.
void let_python_find(const char* directory) {
  const fs::path installed = (own_directory() / ASSAY_PYTHON_FROM_PROGRAM).lexically_normal();
  for (const fs::path& root : {installed, fs::path(ASSAY_SOURCE_PYTHON)}) {
    std::error_code ignored;
    if (!fs::exists(root / "assay" / directory / "__main__.py", ignored)) continue;
    const char* before = std::getenv("PYTHONPATH");
    const bool none = before == nullptr || *before == '\0';
    const std::string all = none ? root.string() : fmt::format("{}:{}", before, root.string());
    ::setenv("PYTHONPATH", all.c_str(), 1);
    return;
  }
}

int run(const PythonCommand& command, const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {interpreter(), "-c",           kStart,
                                    command.name,  command.module, command.needs};
  words.insert(words.end(), arguments.begin(), arguments.end());
  if (command.apart != nullptr) let_python_find(command.apart);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  throw system_error(words[0],
                     fmt::format("cannot run; install Python 3.11 or newer and `pip install {}`; "
                                 "ASSAY_PYTHON may name an interpreter that has them",
                                 command.needs),
                     errno);
}

}  // namespace

void add_python_command(CLI::App& app, Action& action, const PythonCommand& command) {
  CLI::App* added = app.add_subcommand(command.name, command.summary);
  added->set_help_flag();  // Python's
  added->prefix_command();
  added->callback([command, added, &action] {
    action = [command, arguments = added->remaining()] { return run(command, arguments); };
  });
}

}  // namespace assay
