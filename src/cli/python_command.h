// Commands that Assay's Python package carries out: the program becomes Python.
#pragma once

#include "cli/commands.h"

namespace assay {

struct PythonCommand {
  const char* name;
  const char* summary;
  const char* module;  // its main() reads the rest of the command line, --help too
  const char* needs;   // what to install
  // The package's directory, below which the module is, where it needs nothing compiled and may be
  // taken from a source tree or from beside the program; else it must be installed in Python.
  const char* apart = nullptr;
};

void add_python_command(CLI::App& app, Action& action, const PythonCommand& command);

}  // namespace assay
