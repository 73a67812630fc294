// assay capture: reference activations of any transformers model, by Assay's Python package.
#include "cli/commands.h"
#include "cli/python_command.h"

namespace assay {

void add_capture(CLI::App& app, Action& action) {
  add_python_command(
      app, action,
      {"capture", "Write reference activations of any transformers model (needs Python and torch)",
       "assay.capture.__main__", "numpy torch transformers", "capture"});
}

}  // namespace assay
