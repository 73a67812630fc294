#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "assay/error.h"
#include "report/assets.h"
#include "report/compare_report.h"
#include "report/json_text.h"

namespace assay {
namespace {

using Json = nlohmann::ordered_json;

// Shortens numbers: nobody reads more digits on a page, and they would be most of its bytes.
void shorten_numbers(Json& json) {
  if (json.is_structured()) {
    for (Json& value : json) shorten_numbers(value);
  } else if (json.is_number_float()) {
    json = std::strtod(fmt::format("{:.7g}", json.get<double>()).c_str(), nullptr);
  }
}

// Escapes JSON for a <script> element: nothing in it may look like the script's end.
std::string embedded(const Json& json) {
  std::string text;
  for (const char c : json_text(json, -1)) {
    if (c == '<') {
      text += "\\u003c";
    } else {
      text += c;
    }
  }
  return text;
}

}  // namespace

void expect_html_report() {
  if (!chart_library_js().empty()) return;
  throw usage_error("--html", "a build of Assay without the HTML report",
                    "one with -DASSAY_HTML_REPORT=ON");
}

std::string compare_html(const CompareReport& report) { return compare_html(report, Json()); }

std::string compare_html(const CompareReport& report, const Json& diagnosis) {
  Json data = compare_json(report);
  data["diagnosis"] = diagnosis;
  shorten_numbers(data);
  Json texts = Json::object();
  for (const auto& [id, text] : report.token_text) texts[std::to_string(id)] = text;
  data["token_text"] = std::move(texts);
  const std::string json = embedded(data);
  const std::array<std::pair<std::string_view, std::string_view>, 7> parts = {
      {{"@page.css@", page_css()},
       {"@data@", json},
       {"@chart.js@", chart_library_js()},
       {"@charts.js@", charts_js()},
       {"@report.js@", report_js()},
       {"@sections.js@", sections_js()},
       {"@page.js@", page_js()}}};
  std::string page;
  std::string_view rest = page_html();
  for (const auto& [mark, content] : parts) {
    const std::size_t at = rest.find(mark);
    page += rest.substr(0, at);
    page += content;
    rest.remove_prefix(at + mark.size());
  }
  return page += rest;
}

}  // namespace assay
