#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "report/compare_report.h"
#include "report/table.h"

namespace assay {
namespace {

bool is_bad(const TensorResult& t) {
  return t.verdict == Verdict::kFail || t.verdict == Verdict::kError;
}

// What decides between two tensors of a row: errors first, then failures, then the noise ratio, or
// the relative L2 where there is none.
double badness(const TensorResult& t) {
  if (t.verdict == Verdict::kError) return INFINITY;
  double value = t.metrics.relative_l2;
  if (t.noise_ratio) value = std::max(*t.noise_ratio, t.position_ratio.value_or(0));
  return std::isnan(value) ? INFINITY : value;
}

std::string ratio_text(const TensorResult& t) {
  if (!t.noise_ratio) return "";
  return fmt::format("{:.2f}", std::max(*t.noise_ratio, t.position_ratio.value_or(0)));
}

std::string verdict_cell(Verdict verdict, bool color) {
  switch (verdict) {
    case Verdict::kPass:
      return colored("pass", Color::kGreen, color);
    case Verdict::kFail:
      return colored("FAIL", Color::kRed, color);
    case Verdict::kError:
      return colored("ERROR", Color::kRed, color);
    case Verdict::kNotCompared:
      break;
  }
  return colored("-", Color::kDim, color);
}

// "layer_05_q_norm" -> "q_norm"
std::string in_layer(const TensorResult& t) {
  if (!t.layer) return t.name;
  return t.name.substr(t.name.find('_', 6) + 1);
}

struct Row {
  std::string title;
  std::vector<const TensorResult*> tensors;  // compared ones
};

std::vector<Row> rows_of(const PromptResult& prompt, bool every_tensor) {
  std::vector<Row> rows;
  std::map<std::int64_t, std::size_t> by_layer;
  for (const TensorResult& t : prompt.tensors) {
    if (t.verdict == Verdict::kNotCompared) continue;
    if (every_tensor || !t.layer) {
      rows.push_back({t.name, {&t}});
      continue;
    }
    const auto [known, is_new] = by_layer.emplace(*t.layer, rows.size());
    if (is_new) rows.push_back({fmt::format("layer {:02}", *t.layer), {}});
    rows[known->second].tensors.push_back(&t);
  }
  return rows;
}

void add_row(Table& table, const Row& row, const TensorResult* first, bool color) {
  const TensorResult& worst = **std::ranges::max_element(
      row.tensors, {}, [](const TensorResult* t) { return std::pair(is_bad(*t), badness(*t)); });
  const auto failed = std::ranges::count_if(row.tensors, [](const auto* t) { return is_bad(*t); });
  const TensorMetrics& m = worst.metrics;
  const bool bare = worst.name == "input_ids" || worst.verdict == Verdict::kError;
  const bool here = std::ranges::find(row.tensors, first) != row.tensors.end();
  std::string taps = std::to_string(row.tensors.size());
  if (failed > 0 && row.tensors.size() > 1) taps = fmt::format("{} of {}", failed, taps);
  std::string mark;
  if (here) {
    mark = colored(fmt::format("<- first divergence: {}", in_layer(*first)), Color::kBold, color);
  }
  table.add({row.title, taps, row.tensors.size() > 1 ? in_layer(worst) : "",
             bare ? "" : ratio_text(worst), bare ? "" : fmt::format("{:.2e}", m.relative_l2),
             bare ? "" : fmt::format("{:.7f}", m.cosine),
             bare ? "" : fmt::format("{:.3g}", m.max_abs),
             bare ? "" : fmt::format("{:.1f} %", m.exact_share * 100),
             verdict_cell(failed > 0 ? worst.verdict : Verdict::kPass, color), mark});
}

std::string tokens_text(const TokenResult& tokens, bool color) {
  if (!tokens.compared) return "";
  std::map<StepVerdict, std::size_t> counts;
  for (const TokenStep& step : tokens.steps) ++counts[step.verdict];
  const std::size_t all = tokens.steps.size();
  if (!tokens.replayed) {
    if (!tokens.first_difference)
      return fmt::format("Text: all {} tokens are the reference's\n", all);
    const auto step =
        std::ranges::find(tokens.steps, *tokens.first_difference, &TokenStep::position);
    std::string how;
    if (step->verdict != StepVerdict::kUnknown) {
      how =
          fmt::format(", {}: {:.1f} BF16 steps apart",
                      step->verdict == StepVerdict::kTie ? "a near tie" : "diverged", step->steps);
    }
    const bool wrong = is_wrong(tokens, *step);
    return fmt::format("Text: {} at position {}{}; give --model to judge every step\n",
                       colored("first difference", wrong ? Color::kRed : Color::kYellow, color),
                       step->position, how);
  }
  std::string text =
      fmt::format("Text: {} of {} steps are what the reference chooses there, {} near ties, {}\n",
                  counts[StepVerdict::kMatch], all, counts[StepVerdict::kTie],
                  colored(fmt::format("{} diverged", counts[StepVerdict::kDiverged]),
                          counts[StepVerdict::kDiverged] > 0 ? Color::kRed : Color::kGreen, color));
  for (const TokenStep& step : tokens.steps) {
    if (step.verdict != StepVerdict::kDiverged) continue;
    text +=
        fmt::format("  position {}: token {}, the reference chooses {} ({:.1f} BF16 steps apart)\n",
                    step.position, step.candidate_id, step.reference_id, step.steps);
  }
  return text;
}

std::string logits_text(const TensorResult& t) {
  if (!t.logits) return "";
  const LogitMetrics& l = *t.logits;
  std::string text =
      fmt::format("Logits: best token {:.1f} %, best five {:.1f} %, KL divergence {:.2e}\n",
                  l.top1_agreement * 100, l.top5_agreement * 100, l.kl_divergence);
  constexpr std::size_t kShown = 3;
  for (std::size_t i = 0; i < std::min(kShown, l.flips.size()); ++i) {
    const auto& f = l.flips[i];
    text +=
        fmt::format("  position {}: {} instead of {}, {:.1f} BF16 steps behind it{}\n", f.position,
                    f.candidate_id, f.reference_id, f.steps, f.steps <= 2 ? " (a near tie)" : "");
  }
  if (l.flips.size() > kShown) text += fmt::format("  and {} more\n", l.flips.size() - kShown);
  return text;
}

std::string names_text(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 5;
  std::string text = fmt::format(
      "{}",
      fmt::join(names.begin(),
                names.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, names.size())), ", "));
  if (names.size() > kShown) text += fmt::format(" and {} more", names.size() - kShown);
  return text;
}

std::string prompt_text(const PromptResult& prompt, bool every_tensor, bool color) {
  using enum Table::Align;
  const TensorResult* first =
      prompt.first_divergence ? &prompt.tensors[*prompt.first_divergence] : nullptr;
  Table table({{""},
               {"taps", kRight},
               {"worst"},
               {"noise ratio", kRight},
               {"relative L2", kRight},
               {"cosine", kRight},
               {"max abs", kRight},
               {"equal", kRight},
               {""},
               {""}});
  std::vector<std::string> missing;
  std::size_t compared = 0;
  for (const TensorResult& t : prompt.tensors) {
    if (t.verdict == Verdict::kNotCompared) {
      missing.push_back(t.name);
    } else {
      ++compared;
    }
  }
  for (const Row& row : rows_of(prompt, every_tensor)) add_row(table, row, first, color);
  std::string text = fmt::format("{}\n{}\n", colored(prompt.id, Color::kBold, color), table.text());
  if (first != nullptr) {
    text += fmt::format("{}: {}: {}\n", colored("First divergence", Color::kRed, color),
                        first->name, first->reason);
    if (prompt.divergence_text != first->reason) {
      text += fmt::format("  {}\n", prompt.divergence_text);
    }
  }
  for (const DumpFinding& f : prompt.findings) {
    text +=
        fmt::format("{}: {} {}\n", colored("The dump", Color::kYellow, color), f.tensor, f.text);
  }
  std::map<std::string, std::vector<std::string>> incomplete;
  for (const TensorResult& t : prompt.tensors) {
    if (t.verdict == Verdict::kNotCompared && !t.reason.empty()) {
      incomplete[t.reason].push_back(t.name);
    }
  }
  for (const auto& [reason, names] : incomplete) {
    text += fmt::format("Not compared: {}: {}\n", names_text(names), reason);
  }
  std::map<std::string, std::size_t> layouts;
  for (const TensorResult& t : prompt.tensors) {
    if (!t.reading.empty()) ++layouts[t.reading];
  }
  for (const auto& [reading, count] : layouts) {
    text += fmt::format("Layout: {} ({} arrays)\n", reading, count);
  }
  for (const TensorResult& t : prompt.tensors) text += logits_text(t);
  text += tokens_text(prompt.tokens, color);
  text += fmt::format("{} arrays compared", compared);
  if (!missing.empty()) {
    text += fmt::format("; {} not in the candidate: {}", missing.size(), names_text(missing));
  }
  if (!prompt.unmatched.empty()) {
    text += fmt::format("; {} of the candidate's not used: {}", prompt.unmatched.size(),
                        names_text(prompt.unmatched));
  }
  return text + "\n\n";
}

}  // namespace

std::string_view verdict_name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kPass:
      return "pass";
    case Verdict::kFail:
      return "fail";
    case Verdict::kError:
      return "error";
    case Verdict::kNotCompared:
      break;
  }
  return "not compared";
}

std::string_view verdict_name(StepVerdict verdict) {
  switch (verdict) {
    case StepVerdict::kMatch:
      return "match";
    case StepVerdict::kTie:
      return "tie";
    case StepVerdict::kDiverged:
      return "diverged";
    case StepVerdict::kUnknown:
      break;
  }
  return "unknown";
}

std::string compare_text(const CompareReport& report, bool every_tensor, bool color) {
  std::string text;
  for (const PromptResult& prompt : report.prompts) {
    text += prompt_text(prompt, every_tensor, color);
  }
  if (report.passed && !report.blind_spots.empty()) {
    text +=
        fmt::format("{}: these prompts do not show {} common mistake{}: {}\n",
                    colored("Note", Color::kYellow, color), report.blind_spots.size(),
                    report.blind_spots.size() == 1 ? "" : "s", fmt::join(report.blind_spots, "; "));
  }
  return text + fmt::format("{}: profile {}, which asks that {}\n",
                            report.passed ? colored("PASS", Color::kGreen, color)
                                          : colored("FAIL", Color::kRed, color),
                            report.profile, report.statement);
}

}  // namespace assay
