#include "report/map_draft_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/text.h"

namespace assay {

std::string map_draft_rules(const MapDraft& draft) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const MapDraft::Rule& rule : draft.rules) json[rule.from] = rule.to;
  return json.dump(2) + "\n";
}

std::string map_draft_text(const MapDraft& draft, const std::string& file) {
  if (draft.rules.empty()) {
    return fmt::format(
        "No rule found: of {} arrays whose names are not known none holds what the reference "
        "has ({})\n",
        draft.open.size(), draft.prompt);
  }
  std::string text = fmt::format("{} rules, by the values of prompt {}: {}\n\n", draft.rules.size(),
                                 shown(draft.prompt), shown(file));
  for (const MapDraft::Rule& rule : draft.rules) {
    text += fmt::format("  {}  ({} array{}, relative L2 {:.1g})\n    {}\n", shown(rule.from),
                        rule.arrays, rule.arrays == 1 ? "" : "s", rule.error, rule.to);
  }
  text += fmt::format("\nRead them, then: assay compare ... --map {}\n", shown(file));
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
