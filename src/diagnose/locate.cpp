#include "diagnose/locate.h"

#include <fmt/format.h>

#include <algorithm>

#include "assay/compare.h"
#include "base/text.h"

namespace assay {
namespace {

// The positions whose own error is beyond the noise; empty if all are.
std::vector<std::int64_t> bad_positions(const TensorResult& tensor) {
  const std::vector<double>& errors =
      tensor.oracle_error ? tensor.oracle_error->positions : tensor.metrics.position_error;
  const double limit =
      tensor.noise.value_or(0) * tensor.limits.value_or(Limits{}).noise_ratio.value_or(1);
  std::vector<std::int64_t> bad;
  for (std::size_t p = 0; p < errors.size(); ++p) {
    if (!(errors[p] <= limit)) bad.push_back(static_cast<std::int64_t>(p));
  }
  if (bad.size() == errors.size()) bad.clear();
  return bad;
}

Place place_of(const PromptResult& prompt, const TensorResult& tensor) {
  Place place;
  place.prompt = prompt.id;
  place.tap = shown(tensor.name, 200);
  place.operation = prompt.divergence_text;
  place.error = tensor.oracle_error ? tensor.oracle_error->whole : tensor.metrics.relative_l2;
  place.noise = tensor.noise.value_or(0);
  place.positions = bad_positions(tensor);
  return place;
}

}  // namespace

Diagnosis locate(const DiagnoseOptions& options, const OnDiagnoseProgress& on_progress) {
  CompareOptions compared;
  compared.reference = options.reference;
  compared.candidate = options.candidate;
  compared.prompt = options.prompt;
  compared.map = options.map;
  compared.threads = options.threads;
  compared.as = options.as;
  const CompareReport report = compare(compared, on_progress);
  Diagnosis d;
  d.candidate = options.candidate.string();
  d.seen = "by module";
  std::optional<Grid> grid;
  const PromptResult* first = nullptr;
  for (const PromptResult& prompt : report.prompts) {
    d.prompts.push_back(prompt.id);
    for (const TensorResult& tensor : prompt.tensors) {
      if (tensor.verdict == Verdict::kNotCompared) continue;
      ++d.arrays;
      if (tensor.grid) grid = std::max(grid.value_or(*tensor.grid), *tensor.grid);
      if (tensor.verdict == Verdict::kError) {
        d.unreadable.push_back(
            fmt::format("{}: {}: {}", shown(prompt.id), shown(tensor.name, 200), tensor.reason));
      }
    }
    for (const DumpFinding& finding : prompt.findings) {
      d.dump.push_back(fmt::format("{}: {}", shown(finding.tensor, 200), finding.text));
    }
    const bool is_earlier =
        prompt.first_divergence &&
        (first == nullptr || *prompt.first_divergence < *first->first_divergence);
    if (is_earlier) first = &prompt;
  }
  d.rounding = grid ? std::string(grid_name(*grid)) : "unknown type";
  const std::string only = fmt::format(
      "the reference is a captured one of model type '{}': Assay names mistakes only in the types "
      "that "
      "it computes itself, and locates them in others",
      report.source.model_type.empty() ? "?" : report.source.model_type);
  d.notes.push_back(only);
  if (first == nullptr) {
    d.verdict = d.unreadable.empty() && report.passed ? DiagnosisVerdict::kCorrect
                                                      : DiagnosisVerdict::kIncomplete;
    d.summary = report.coarse
                    ? "every array is within BF16's noise, but some are less accurate than "
                      "their own type allows (assay compare shows them)"
                    : "every array is what the reference has, within rounding";
    if (d.verdict == DiagnosisVerdict::kIncomplete) {
      d.summary = "nothing is wrong in the arrays that could be compared";
    }
    return d;
  }
  d.verdict = DiagnosisVerdict::kUnexplained;
  d.first = place_of(*first, first->tensors[*first->first_divergence]);
  d.unexplained.push_back(*d.first);
  d.summary = fmt::format("it begins at {}; the mistake is not named", d.first->tap);
  return d;
}

}  // namespace assay
