// JUnit XML as CI servers read it (the schema of Apache Ant's task, which has no formal owner).
#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/text.h"
#include "report/compare_report.h"

namespace assay {
namespace {

// Escapes a text for XML content and attributes. XML 1.0 cannot represent control characters.
std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : visible(text)) {
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
        result += c;
    }
  }
  return result;
}

std::string test_case(const PromptResult& prompt, std::string_view name, std::string_view body) {
  return fmt::format("    <testcase classname=\"assay.{}\" name=\"{}\"{}", escaped(prompt.id),
                     escaped(name), body.empty() ? "/>\n" : fmt::format(">{}</testcase>\n", body));
}

constexpr std::string_view kBegin = "first divergence: ";

// The message of the prompt's only failure: where the first divergence is, and what comes before
// it.
std::string failure_text(const PromptResult& prompt, const TensorResult& first) {
  std::string text = fmt::format("{}{}: {}", kBegin, first.name, first.reason);
  if (prompt.divergence_text != first.reason) text += fmt::format("; {}", prompt.divergence_text);
  return text;
}

// The first divergence fails; what fails after it follows from it. first: null if there is none.
std::string body_of(const PromptResult& prompt, const TensorResult& t, const TensorResult* first) {
  switch (t.verdict) {
    case Verdict::kPass:
      return "";
    case Verdict::kCoarse:
      return fmt::format("<properties><property name=\"coarse\" value=\"{}\"/></properties>",
                         escaped(t.reason));
    case Verdict::kFail:
      if (&t == first) {
        return fmt::format("<failure message=\"{}\"/>", escaped(failure_text(prompt, t)));
      }
      return fmt::format("<skipped message=\"follows from {}: {}\"/>",
                         escaped(first == nullptr ? "another array" : first->name),
                         escaped(t.reason));
    case Verdict::kError:
      return fmt::format("<error message=\"{}\"/>", escaped(t.reason));
    case Verdict::kNotCompared:
      break;
  }
  return "<skipped message=\"not in the candidate\"/>";
}

// The body of the test case for the greedy text.
std::string body_of_text(const PromptResult& prompt, const TensorResult* first) {
  const std::string reason = escaped(prompt.tokens.reason);
  if (prompt.tokens.verdict == Verdict::kError)
    return fmt::format("<error message=\"{}\"/>", reason);
  if (prompt.tokens.verdict != Verdict::kFail) return "";
  if (first == nullptr) return fmt::format("<failure message=\"{}\"/>", reason);
  return fmt::format("<skipped message=\"follows from {}: {}\"/>", escaped(first->name), reason);
}

std::string suite(const PromptResult& prompt) {
  const TensorResult* first =
      prompt.first_divergence ? &prompt.tensors[*prompt.first_divergence] : nullptr;
  std::vector<std::pair<std::string_view, std::string>> bodies;
  for (const TensorResult& t : prompt.tensors)
    bodies.emplace_back(t.name, body_of(prompt, t, first));
  if (prompt.tokens.verdict != Verdict::kNotCompared) {
    bodies.emplace_back("generated_ids", body_of_text(prompt, first));
  }
  std::string cases;
  for (const auto& [name, body] : bodies) cases += test_case(prompt, name, body);
  const auto count = [&](std::string_view element) {
    return std::ranges::count_if(
        bodies, [&](const auto& body) { return body.second.starts_with(element); });
  };
  return fmt::format(
      "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\">\n{}"
      "  </testsuite>\n",
      escaped(prompt.id), bodies.size(), count("<failure"), count("<error"), count("<skipped"),
      cases);
}

}  // namespace

std::string compare_junit(const CompareReport& report) {
  std::string text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n";
  for (const PromptResult& prompt : report.prompts) text += suite(prompt);
  for (const std::string& id : report.missing_prompts) {
    text += fmt::format(
        "  <testsuite name=\"{0}\" tests=\"1\" failures=\"0\" errors=\"0\" skipped=\"1\">\n"
        "    <testcase classname=\"assay.{0}\" name=\"prompt\"><skipped message=\"not in the "
        "candidate\"/></testcase>\n  </testsuite>\n",
        escaped(id));
  }
  return text + "</testsuites>\n";
}

}  // namespace assay
