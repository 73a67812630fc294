// What `assay explain` found, for people.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace assay {

// Text for a terminal, with colours when `color` is true. explanation: as explain() returns it.
std::string explain_text(const nlohmann::ordered_json& explanation, bool color);
// The same as a page of Markdown.
std::string explain_markdown(const nlohmann::ordered_json& explanation);

}  // namespace assay
