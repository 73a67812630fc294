#include "cli/python_command.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/Option.hpp>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "assay/error.h"
#include "base/program_path.h"
#include "cli/option_values.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

// Arguments: the command, its module, what it needs, and then its options.
constexpr const char* kStart = R"(import importlib, os, signal, sys
signal.signal(signal.SIGINT, lambda *_: os._exit(130))
name, module, needs = sys.argv[1:4]
sys.argv[1:4] = []
try:
    main = importlib.import_module(module).main
except ModuleNotFoundError as error:
    message = (f"{name} needs the Python package {error.name}: pip install {needs} for {sys.executable}, or name"
               " another interpreter in ASSAY_PYTHON")
    print(f"assay: error: {message}", file=sys.stderr)
    if "--json" in sys.argv:
        import json
        text = json.dumps({"schema": "assay.error/1", "error": {"kind": "system", "exit_code": 4, "where": "",
                           "found": message, "expected": "", "message": message}}, indent=2)
        try:
            print(text, flush=True)
        except OSError:
            os._exit(4)
    sys.exit(4)
sys.exit(main())
)";

fs::path own_directory() { return program_path().parent_path(); }

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
  std::vector<fs::path> roots;
  if (const fs::path own = own_directory(); !own.empty()) {
    roots.push_back((own / ASSAY_PYTHON_FROM_PROGRAM).lexically_normal());
  }
#ifdef ASSAY_SOURCE
  roots.emplace_back(ASSAY_SOURCE "/python");
#endif
  for (const fs::path& root : roots) {
    std::error_code ignored;
    if (!fs::exists(root / "assay" / directory / "__main__.py", ignored)) continue;
    const char* before = std::getenv("PYTHONPATH");
    const bool none = before == nullptr || *before == '\0';
    const std::string all = none ? root.string() : fmt::format("{}:{}", before, root.string());
    ::setenv("PYTHONPATH", all.c_str(), 1);
    return;
  }
}

// The options as the Python program takes them. --color is not one of its.
std::vector<std::string> words_of(const CLI::App& command) {
  std::vector<std::string> words;
  std::vector<std::string> positional = {"--"};
  for (const CLI::Option* option : command.get_options()) {
    if (option->count() == 0 || option->check_lname("color")) continue;
    for (const std::string& value : option->results()) {
      if (option->get_positional()) {
        positional.push_back(value);
      } else if (is_switch(*option)) {
        words.push_back(option->get_name());
      } else {
        words.push_back(fmt::format("{}={}", option->get_name(), value));
      }
    }
  }
  words.insert(words.end(), positional.begin(), positional.end());
  return words;
}

}  // namespace

int become_python(const CLI::App& command, const PythonProgram& program) {
  // -P: nothing is imported from the current directory, which may be somebody's checkpoint.
  std::vector<std::string> words = {interpreter(),      "-P",           "-c",         kStart,
                                    command.get_name(), program.module, program.needs};
  for (std::string& word : words_of(command)) words.push_back(std::move(word));
  if (program.apart != nullptr) let_python_find(program.apart);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  throw system_error(words[0],
                     fmt::format("cannot run; install Python 3.11 or newer and `pip install {}`; "
                                 "ASSAY_PYTHON may name an interpreter that has them",
                                 program.needs),
                     errno);
}

}  // namespace assay
