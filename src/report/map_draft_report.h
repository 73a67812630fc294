// A draft of a map: the file of rules, and its description.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "assay/map_draft.h"

namespace assay {

// The file's text.
std::string map_draft_rules(const MapDraft& draft);

// A description for people. file: where the rules were written.
std::string map_draft_text(const MapDraft& draft, const std::string& file);

nlohmann::ordered_json map_draft_json(const MapDraft& draft);

}  // namespace assay
