// assay golden: references small enough for a repository, by Assay's Python package.
#include "cli/commands.h"
#include "cli/python_command.h"

namespace assay {

void add_golden(CLI::App& app, Action& action) {
  add_python_command(
      app, action,
      {"golden", "Write a reference small enough for a repository (needs the Python package)",
       "assay.golden", "assay"});
}

}  // namespace assay
