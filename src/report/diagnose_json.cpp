#include <cmath>
#include <nlohmann/json.hpp>

#include "report/diagnose_report.h"

namespace assay {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const Mistake& m) {
  return {{"id", m.id},           {"group", m.group},
          {"name", m.name},       {"explanation", m.explanation},
          {"look_at", m.look_at}, {"rounding", m.rounding}};
}

Json to_json(const Finding& f) {
  Json alternatives = Json::array();
  for (const Finding::Alternative& a : f.alternatives) {
    alternatives.push_back({{"id", a.mistake.id},
                            {"name", a.mistake.name},
                            {"detail", a.detail},
                            {"error_after", a.error_after},
                            {"separated_by", a.separated_by}});
  }
  Json json = to_json(f.mistake);
  json.update({{"detail", f.detail},
               {"where", f.where},
               {"layers", f.layers},
               {"taps", f.taps},
               {"error_before", f.error_before},
               {"error_after", f.error_after},
               {"noise", f.noise},
               {"exact_after", f.exact_after},
               {"of_text", f.of_text},
               {"built_in", f.built_in},
               {"alternatives", std::move(alternatives)}});
  return json;
}

Json to_json(const Place& p) {
  Json relations = Json::array();
  for (const Relation& r : p.relations) {
    relations.push_back({{"text", r.text}, {"error", std::isfinite(r.error) ? r.error : -1}});
  }
  return {{"prompt", p.prompt},       {"tap", p.tap},
          {"operation", p.operation}, {"error", p.error},
          {"noise", p.noise},         {"layers", p.layers},
          {"positions", p.positions}, {"heads", p.heads},
          {"channels", p.channels},   {"relations", std::move(relations)}};
}

}  // namespace

Json diagnose_json(const Diagnosis& d) {
  Json findings = Json::array();
  for (const Finding& f : d.findings) findings.push_back(to_json(f));
  Json unexplained = Json::array();
  for (const Place& p : d.unexplained) unexplained.push_back(to_json(p));
  return {{"schema", "assay.diagnose/1"},
          {"candidate", d.candidate},
          {"verdict", verdict_name(d.verdict)},
          {"summary", d.summary},
          {"rounding", d.rounding},
          {"seen", d.seen},
          {"prompts", d.prompts},
          {"arrays", d.arrays},
          {"hypotheses", d.hypotheses},
          {"findings", std::move(findings)},
          {"first", d.first ? to_json(*d.first) : Json()},
          {"unexplained", std::move(unexplained)},
          {"dump", d.dump},
          {"unreadable", d.unreadable},
          {"notes", d.notes}};
}

Json power_json(std::span<const BlindSpot> spots, std::span<const Prompt> prompts) {
  Json list = Json::array();
  for (const BlindSpot& spot : spots) {
    list.push_back({{"id", spot.id},
                    {"group", spot.group},
                    {"name", spot.name},
                    {"common", spot.common},
                    {"seen_by", spot.seen_by},
                    {"variants", spot.variants},
                    {"seen_variants", spot.seen_variants}});
  }
  Json ids = Json::array();
  for (const Prompt& prompt : prompts) ids.push_back(prompt.id);
  return {{"schema", "assay.power/1"}, {"prompts", std::move(ids)}, {"mistakes", std::move(list)}};
}

Json mistakes_json(std::span<const Mistake> mistakes) {
  Json list = Json::array();
  for (const Mistake& m : mistakes) list.push_back(to_json(m));
  return {{"schema", "assay.mistakes/1"}, {"mistakes", std::move(list)}};
}

}  // namespace assay
