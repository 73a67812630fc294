// JSON as it is handed out: valid UTF-8, harmless on a terminal.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/text.h"

namespace assay {

// Bytes that are no UTF-8 (a path or a name may hold any) become U+FFFD; see escaped_json. indent:
// spaces for each level, -1 for one line.
template <class Json>
std::string json_text(const Json& json, int indent) {
  return escaped_json(json.dump(indent, ' ', false, Json::error_handler_t::replace));
}

}  // namespace assay
