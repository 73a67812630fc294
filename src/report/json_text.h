// JSON as it is handed out: valid UTF-8, harmless on a terminal.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/text.h"

namespace assay {

// Bytes that are not UTF-8 (a path or a name may contain any) become U+FFFD; see escaped_json.
// indent: spaces per level, or -1 for a single line.
template <class Json>
std::string json_text(const Json& json, int indent) {
  return escaped_json(json.dump(indent, ' ', false, Json::error_handler_t::replace));
}

}  // namespace assay
