// Manual pages, generated from the commands and their options.
#pragma once

#include <CLI/App.hpp>
#include <string>

namespace assay {

// "assay-compare", "assay": the page's name.
std::string man_page_name(const CLI::App& command);

// The page of the program or of a command, as roff for man(7), section 1.
std::string man_page(const CLI::App& command);

}  // namespace assay
