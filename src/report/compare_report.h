// A comparison for people, for programs, for CI and for browsers.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "assay/comparison.h"

namespace assay {

std::string_view verdict_name(StepVerdict verdict);  // "match", "tie", "diverged", "unknown"

// A table with a row per layer and a column per metric. every_tensor: a row per tensor instead.
std::string compare_text(const CompareReport& report, bool every_tensor, bool color);

// Why the comparison failed; empty when it passed.
std::string failure_cause(const CompareReport& report);

// The same as an element of compare_json's "tensors".
nlohmann::ordered_json tensor_json(const TensorResult& tensor);
nlohmann::ordered_json compare_json(const CompareReport& report);

// JUnit XML: a suite for each prompt, a case for each tensor and one for the text. The first
// divergence is the prompt's only failure. What fails after it is skipped, like what was not
// compared.
std::string compare_junit(const CompareReport& report);

// Throws a usage error where this build cannot make the page that follows (ASSAY_HTML_REPORT).
void expect_html_report();

// One HTML page without references to anything outside, for a report made with details.
std::string compare_html(const CompareReport& report);
// The same page with a section for what assay diagnose found (diagnose_json).
std::string compare_html(const CompareReport& report, const nlohmann::ordered_json& diagnosis);

}  // namespace assay
