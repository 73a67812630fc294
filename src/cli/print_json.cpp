#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/verbs.h"

namespace assay {

void print_json(const nlohmann::ordered_json& json) {
  fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace));
}

}  // namespace assay
