// A comparison for people, for programs, for CI and for browsers.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "assay/compare.h"

namespace assay {

std::string_view verdict_name(StepVerdict verdict);  // "match", "tie", "diverged", "unknown"

// Layers down, metrics across; every_tensor: a line for each tensor instead of each layer.
std::string compare_text(const CompareReport& report, bool every_tensor, bool color);

// Why a report that has not passed has not; empty for one that has.
std::string failure_cause(const CompareReport& report);

nlohmann::ordered_json compare_json(const CompareReport& report);

// JUnit XML: a suite for each prompt, a case for each tensor and one for the text. The first
// divergence is the prompt's one failure; what fails behind it is skipped, as what was not compared
// is.
std::string compare_junit(const CompareReport& report);

// Throws a usage error where this build cannot make the page that follows (ASSAY_HTML_REPORT).
void expect_html_report();

// One HTML page without references to anything outside, for a report made with details.
std::string compare_html(const CompareReport& report);
// With what assay diagnose found out (diagnose_json) as a section of its own.
std::string compare_html(const CompareReport& report, const nlohmann::ordered_json& diagnosis);

}  // namespace assay
