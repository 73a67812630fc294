// Commands that Assay's Python package carries out: the program becomes Python.
#pragma once

#include "cli/commands.h"

namespace assay {

struct PythonProgram {
  const char* module;  // its main() reads the options
  const char* needs;   // what to install with pip
  // The package's directory, below which the module is, where it needs nothing compiled and may be
  // taken from a source tree or from beside the program; else it must be installed in Python.
  const char* apart = nullptr;
};

// Runs the program with the options that `command` was given, which it declares with the same
// names; --color is not handed on. Returns only by throwing a system error.
int become_python(const CLI::App& command, const PythonProgram& program);

}  // namespace assay
