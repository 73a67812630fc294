// Shell completion, generated from the commands and their options.
#pragma once

#include <CLI/App.hpp>
#include <string>

namespace assay {

// The scripts for the three shells.
std::string bash_completion(const CLI::App& app);
std::string zsh_completion(const CLI::App& app);
std::string fish_completion(const CLI::App& app);

}  // namespace assay
