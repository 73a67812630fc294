// JUnit XML as CI servers read it (the schema of Apache Ant's task, which has no formal owner).
#include <fmt/format.h>

#include <algorithm>

#include "report/compare_report.h"

namespace assay {
namespace {

// For text and attributes. XML 1.0 has no way to write other control characters.
std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      default:
        result += static_cast<unsigned char>(c) < 32 ? '?' : c;
    }
  }
  return result;
}

std::string test_case(const PromptResult& prompt, std::string_view name, std::string_view body) {
  return fmt::format("    <testcase classname=\"assay.{}\" name=\"{}\"{}", escaped(prompt.id),
                     escaped(name), body.empty() ? "/>\n" : fmt::format(">{}</testcase>\n", body));
}

std::string body_of(const TensorResult& t) {
  switch (t.verdict) {
    case Verdict::kPass:
      return "";
    case Verdict::kCoarse:
      return fmt::format("<properties><property name=\"coarse\" value=\"{}\"/></properties>",
                         escaped(t.reason));
    case Verdict::kFail:
      return fmt::format("<failure message=\"{}\"/>", escaped(t.reason));
    case Verdict::kError:
      return fmt::format("<error message=\"{}\"/>", escaped(t.reason));
    case Verdict::kNotCompared:
      break;
  }
  return "<skipped message=\"not in the candidate\"/>";
}

std::string suite(const PromptResult& prompt) {
  const auto count = [&](Verdict verdict) {
    return std::ranges::count(prompt.tensors, verdict, &TensorResult::verdict);
  };
  std::string cases;
  for (const TensorResult& t : prompt.tensors) cases += test_case(prompt, t.name, body_of(t));
  std::size_t tests = prompt.tensors.size();
  std::size_t failures = static_cast<std::size_t>(count(Verdict::kFail));
  if (prompt.tokens.compared) {
    const auto wrong = std::ranges::find_if(
        prompt.tokens.steps, [&](const TokenStep& s) { return is_wrong(prompt.tokens, s); });
    const bool bad = wrong != prompt.tokens.steps.end();
    ++tests;
    failures += bad;
    cases += test_case(
        prompt, "generated_ids",
        bad ? fmt::format("<failure message=\"differs at position {}\"/>", wrong->position) : "");
  }
  return fmt::format(
      "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">\n{}"
      "  </testsuite>\n",
      escaped(prompt.id), tests, failures, count(Verdict::kError), count(Verdict::kNotCompared),
      cases);
}

}  // namespace

std::string compare_junit(const CompareReport& report) {
  std::string text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n";
  for (const PromptResult& prompt : report.prompts) text += suite(prompt);
  return text + "</testsuites>\n";
}

}  // namespace assay
