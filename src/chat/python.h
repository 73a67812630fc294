// Runs a Python program in a separate process, with limits.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>
#include <string_view>

namespace assay {

// Advice for when Python or its Jinja2 is missing.
inline constexpr std::string_view kPythonNeeded =
    "chat templates are run by Jinja2 (Debian: python3-jinja2); ASSAY_PYTHON may name an "
    "interpreter "
    "that has it";

// $ASSAY_PYTHON, or else python3 (from the PATH).
std::string python_program();

struct PythonLimits {
  std::chrono::milliseconds time{30'000};  // wall-clock time
  std::size_t output = std::size_t{64} << 20;
};

// Runs `script` with `input` as its standard input, and returns what it wrote to standard output.
// The interpreter is python_program(). It runs isolated (-I) from the current directory and the
// user's environment. Throws system errors (no interpreter, or it fails), and an input error about
// `where` when a limit is exceeded.
std::string run_python(std::string_view script, std::string_view input, std::string_view where,
                       const PythonLimits& limits = {});

}  // namespace assay
