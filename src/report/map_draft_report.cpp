#include "report/map_draft_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "report/json_text.h"
#include "report/table.h"

namespace assay {

std::string map_draft_rules(const MapDraft& draft) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const MapDraft::Rule& rule : draft.rules) json[rule.from] = rule.to;
  return json_text(json, 2) + "\n";
}

std::string map_draft_text(const MapDraft& draft, const std::string& file) {
  const auto counted = [](std::size_t count, std::string_view what) {
    return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
  };
  if (draft.rules.empty() && draft.open.empty()) {
    return fmt::format("No rules are needed: the names of all arrays of prompt {} are known\n",
                       shown(draft.prompt));
  }
  if (draft.rules.empty()) {
    return wrapped(fmt::format("No rules found: {} of prompt {} with unknown names, but none has "
                               "the values of a reference array\n",
                               counted(draft.open.size(), "array"), shown(draft.prompt)),
                   2);
  }
  std::string text =
      wrapped(fmt::format("{}, by the values of prompt {}: {}\n\n",
                          counted(draft.rules.size(), "rule"), shown(draft.prompt), shown(file)),
              2);
  for (const MapDraft::Rule& rule : draft.rules) {
    const std::string name = "  " + shown(rule.from);
    const std::string seen =
        fmt::format("({}, relative L2 {:.1g})",
                    counted(static_cast<std::size_t>(rule.arrays), "array"), rule.error);
    // Both go on one line if they fit.
    const bool fits = name.size() + 2 + seen.size() <= kTerminalWidth;
    text += fmt::format("{}{}{}\n    {}\n", name, fits ? "  " : "\n    ", seen, rule.to);
  }
  text += wrapped(
      fmt::format("\nReview the rules, then run: assay compare ... --map {}\n", shown(file)), 2);
  if (!draft.open.empty()) {
    constexpr std::size_t kShown = 8;
    text += fmt::format("\nNot found among the reference's values ({}):\n", draft.open.size());
    for (std::size_t i = 0; i < std::min(kShown, draft.open.size()); ++i) {
      text += fmt::format("  {}\n", shown(draft.open[i]));
    }
    if (draft.open.size() > kShown) {
      text += fmt::format("  and {} more\n", draft.open.size() - kShown);
    }
  }
  return text;
}

nlohmann::ordered_json map_draft_json(const MapDraft& draft) {
  nlohmann::ordered_json json;
  json["schema"] = "assay.map_draft/1";
  json["prompt"] = draft.prompt;
  json["rules"] = nlohmann::ordered_json::array();
  for (const MapDraft::Rule& rule : draft.rules) {
    json["rules"].push_back({{"from", rule.from},
                             {"to", rule.to},
                             {"arrays", rule.arrays},
                             {"relative_l2", rule.error}});
  }
  json["open"] = draft.open;
  return json;
}

}  // namespace assay
