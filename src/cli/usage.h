// What is wrong with a command line, and what was probably meant.
#pragma once

#include <CLI/App.hpp>

#include "assay/error.h"

namespace assay {

// The error to report when parsing fails with `error`. app: as the failed parsing left it.
Error usage_of(const CLI::App& app, const CLI::ParseError& error);

// The error for a command that does not exist.
Error unknown_command(const CLI::App& app, const std::string& name);

}  // namespace assay
