// What `assay explain` found, for people.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace assay {

// explanation: as explain() returns it. For a terminal, with colours where asked for.
std::string explain_text(const nlohmann::ordered_json& explanation, bool color);
// The same as a page of Markdown.
std::string explain_markdown(const nlohmann::ordered_json& explanation);

}  // namespace assay
