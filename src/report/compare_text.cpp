#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include "base/nearest_name.h"
#include "base/text.h"
#include "report/compare_report.h"
#include "report/layout_kinds.h"
#include "report/like_lines.h"
#include "report/table.h"

namespace assay {
namespace {

bool is_bad(const TensorResult& t) {
  return t.verdict == Verdict::kFail || t.verdict == Verdict::kError;
}
bool is_pass(const TensorResult& t) { return t.verdict == Verdict::kPass; }
bool is_coarse(const TensorResult& t) { return t.verdict == Verdict::kCoarse; }

// Ranks the tensors of a row: errors come first, then failures, then the largest noise ratio, or
// the largest relative L2 where there is no noise ratio.
double badness(const TensorResult& t) {
  if (t.verdict == Verdict::kError) return INFINITY;
  double value = t.metrics.relative_l2;
  if (t.noise_ratio) value = std::max(*t.noise_ratio, t.position_ratio.value_or(0));
  return std::isnan(value) ? INFINITY : value;
}

std::string ratio_text(const TensorResult& t) {
  if (!t.noise_ratio) return "";
  const double ratio = std::max(*t.noise_ratio, t.position_ratio.value_or(0));
  return ratio < 1000 ? fmt::format("{:.2f}", ratio) : fmt::format("{:.1e}", ratio);
}

std::string verdict_cell(Verdict verdict, bool color) {
  switch (verdict) {
    case Verdict::kPass:
      return colored("pass", Color::kGreen, color);
    case Verdict::kCoarse:
      return colored("coarse", Color::kYellow, color);
    case Verdict::kFail:
      return colored("FAIL", Color::kRed, color);
    case Verdict::kError:
      return colored("ERROR", Color::kRed, color);
    case Verdict::kNotCompared:
      break;
  }
  return colored("-", Color::kDim, color);
}

// "layer_05_q_norm" -> "layer 05 q_norm", "model.layers.5.mlp" -> "model.layers.5 mlp"
std::string spaced_name(const TensorResult& t) {
  if (!t.layer) {
    const bool in_block = !t.block.empty() && t.name.starts_with(t.block + ".");
    if (!in_block) return shown(t.name, 200);
    return shown(fmt::format("{} {}", t.block, t.name.substr(t.block.size() + 1)), 200);
  }
  const std::size_t end = t.name.find('_', 6);
  return fmt::format("layer {} {}", t.name.substr(6, end - 6), t.name.substr(end + 1));
}

// What tensors of one layer have in common; empty outside of layers.
std::string layer_of(const TensorResult& t) {
  if (!t.block.empty()) return t.block;
  return t.layer ? std::to_string(*t.layer) : std::string();
}

// A row of the table: one compared tensor, or all compared tensors of a layer. The worst is shown.
using Row = std::vector<const TensorResult*>;

std::vector<Row> rows_of(const PromptResult& prompt, bool every_tensor) {
  std::vector<Row> rows;
  std::map<std::string, std::size_t> by_layer;
  for (const TensorResult& t : prompt.tensors) {
    if (t.verdict == Verdict::kNotCompared) continue;
    const std::string layer = layer_of(t);
    if (every_tensor || layer.empty()) {
      rows.push_back({&t});
      continue;
    }
    const auto [known, is_new] = by_layer.emplace(layer, rows.size());
    if (is_new) rows.emplace_back();
    rows[known->second].push_back(&t);
  }
  return rows;
}

void add_row(Table& table, const Row& row, bool every_tensor, const TensorResult* first,
             bool color) {
  const TensorResult& worst = **std::ranges::max_element(row, {}, [](const TensorResult* t) {
    return std::tuple(is_bad(*t), is_coarse(*t), badness(*t));
  });
  const auto failed = std::ranges::count_if(
      row, [&](const auto* t) { return t->verdict == worst.verdict && !is_pass(*t); });
  const TensorMetrics& m = worst.metrics;
  const bool bare = worst.name == "input_ids" || worst.verdict == Verdict::kError;
  const bool here = std::ranges::find(row, first) != row.end();
  const std::string title = every_tensor ? shown(worst.name, 200) : spaced_name(worst);
  table.add({fmt::format("{}{}", here ? "> " : "  ", title),
             row.size() > 1 ? fmt::format("{}/{}", failed, row.size()) : "",
             bare ? "" : ratio_text(worst), bare ? "" : fmt::format("{:.2e}", m.relative_l2),
             bare ? "" : fmt::format("{:.6f}", m.cosine),
             bare ? "" : fmt::format("{:.1f}", m.exact_share * 100),
             verdict_cell(worst.verdict, color)});
}

std::string tokens_text(const TokenResult& tokens, bool color) {
  const std::string& reason = tokens.reason;
  if (tokens.verdict == Verdict::kError) {
    return fmt::format("Text: {}: {}\n", colored("ERROR", Color::kRed, color), reason);
  }
  if (!tokens.compared) return reason.empty() ? "" : fmt::format("Text: {}\n", reason);
  std::map<StepVerdict, std::size_t> counts;
  for (const TokenStep& step : tokens.steps) ++counts[step.verdict];
  const std::size_t all = tokens.steps.size();
  const bool only_end =
      tokens.past_end && std::ranges::none_of(tokens.steps, [&](const TokenStep& step) {
        return is_wrong(tokens, step);
      });
  if (only_end) return fmt::format("Text: {}\n", colored(reason, Color::kRed, color));
  if (!tokens.replayed) {
    if (!tokens.first_difference || (tokens.verdict == Verdict::kPass && !reason.empty())) {
      return reason.empty() ? fmt::format("Text: all {} tokens equal the reference's\n", all)
                            : fmt::format("Text: {}\n", reason);
    }
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
      fmt::format("Text: {} of {} steps match the reference's choice, {} near tie{}, {}\n",
                  counts[StepVerdict::kMatch], all, counts[StepVerdict::kTie],
                  counts[StepVerdict::kTie] == 1 ? "" : "s",
                  colored(fmt::format("{} diverged", counts[StepVerdict::kDiverged]),
                          counts[StepVerdict::kDiverged] > 0 ? Color::kRed : Color::kGreen, color));
  if (tokens.verdict == Verdict::kPass && !reason.empty()) text += fmt::format("  {}\n", reason);
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
      fmt::format("Logits: best token {:.1f} %, best five {:.1f} %, KL divergence {}\n",
                  l.top1_agreement * 100, l.top5_agreement * 100,
                  std::isnan(l.kl_divergence) ? std::string("undefined (NaN)")
                                              : fmt::format("{:.2e}", l.kl_divergence));
  constexpr std::size_t kShown = 3;
  for (std::size_t i = 0; i < std::min(kShown, l.flips.size()); ++i) {
    const auto& f = l.flips[i];
    text +=
        fmt::format("  position {}: {} instead of {}, {:.1f} BF16 steps below it{}\n", f.position,
                    f.candidate_id, f.reference_id, f.steps, f.steps <= 2 ? " (a near tie)" : "");
  }
  if (l.flips.size() > kShown) text += fmt::format("  and {} more\n", l.flips.size() - kShown);
  return text;
}

std::string names_text(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 5;
  std::string text;
  for (std::size_t i = 0; i < std::min(kShown, names.size()); ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : ", ", shown(names[i]));
  }
  if (names.size() > kShown) text += fmt::format(" and {} more", names.size() - kShown);
  return text;
}

// The name of a layer's tap without the layer; empty for other names.
std::string_view base_in_layer(std::string_view name) {
  constexpr std::string_view kLayer = "layer_";
  if (!name.starts_with(kLayer)) return {};
  const std::size_t end = name.find_first_not_of("0123456789", kLayer.size());
  if (end == name.npos || end == kLayer.size() || name[end] != '_') return {};
  return name.substr(end + 1);
}

// Arrays that match no rule were not compared, which is easily overlooked.
std::string unused_text(const PromptResult& prompt, bool color) {
  const std::size_t count = prompt.unmatched.size();
  if (count == 0) return "";
  std::vector<std::string> known;
  for (const TensorResult& t : prompt.tensors) {
    if (t.verdict == Verdict::kNotCompared) known.emplace_back(base_in_layer(t.name));
  }
  std::string hint = "--suggest-map drafts rules, --map reads them";
  for (const std::string& name : prompt.unmatched) {
    const std::string meant = nearest_name(base_in_layer(name), known);
    if (meant.empty()) continue;
    hint = fmt::format("did you mean '{}'?", meant);
    break;
  }
  return fmt::format("{}: {} of the dump's arrays {} no rule: {}; {}\n",
                     colored("Not used", Color::kYellow, color), count,
                     count == 1 ? "matches" : "match", names_text(prompt.unmatched), hint);
}

// Coarse arrays do not fail, but they are less accurate than their own type allows.
std::string coarse_text(const PromptResult& prompt, bool color) {
  const auto count = std::ranges::count_if(prompt.tensors, is_coarse);
  if (count == 0) return "";
  const auto first = std::ranges::find_if(prompt.tensors, is_coarse);
  return fmt::format("{}: {} array{}, the first {}: {}\n", colored("Coarse", Color::kYellow, color),
                     count, count == 1 ? "" : "s", first->name, first->reason);
}

std::string prompt_text(const PromptResult& prompt, bool every_tensor, bool color) {
  using enum Table::Align;
  const TensorResult* first =
      prompt.first_divergence ? &prompt.tensors[*prompt.first_divergence] : nullptr;
  Table table({{""},
               {"failed", kRight},
               {"ratio", kRight},
               {"rel. L2", kRight},
               {"cosine", kRight},
               {"equal %", kRight},
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
  for (const Row& row : rows_of(prompt, every_tensor)) {
    add_row(table, row, every_tensor, first, color);
  }
  std::string text;
  if (first != nullptr) {
    text += fmt::format("{}: {}: {}\n", colored("First divergence", Color::kRed, color),
                        first->name, first->reason);
    if (prompt.divergence_text != first->reason) {
      text += fmt::format("  {}\n", prompt.divergence_text);
    }
  }
  text += coarse_text(prompt, color);
  std::vector<std::string> about_dump;
  for (const DumpFinding& f : prompt.findings) {
    about_dump.push_back(fmt::format("{}: {}", f.tensor, f.text));
  }
  for (const std::string& finding : one_of_each_kind(about_dump)) {
    std::string line = wrapped(fmt::format("The dump: {}\n", finding), 2);
    line.replace(0, std::string_view("The dump").size(),
                 colored("The dump", Color::kYellow, color));
    text += line;
  }
  for (const std::string& remark : prompt.remarks) text += fmt::format("Read: {}\n", remark);
  std::map<std::string, std::vector<std::string>> incomplete;
  for (const TensorResult& t : prompt.tensors) {
    const bool is_said = std::ranges::any_of(prompt.findings, [&](const DumpFinding& f) {
      return f.tensor == t.name && f.text == t.reason;
    });
    if (t.verdict == Verdict::kNotCompared && !t.reason.empty() && !is_said) {
      incomplete[t.reason].push_back(t.name);
    }
  }
  for (const auto& [reason, names] : incomplete) {
    text += fmt::format("Not compared: {}: {}\n", names_text(names), reason);
  }
  for (const LayoutKind& kind : layout_kinds(prompt)) {
    text += fmt::format("Layout: {}{} ({} array{})\n", kind.example,
                        kind.texts > 1 ? " and the like" : "", kind.arrays,
                        kind.arrays == 1 ? "" : "s");
  }
  for (const TensorResult& t : prompt.tensors) text += logits_text(t);
  text += tokens_text(prompt.tokens, color);
  text += fmt::format("{} array{} compared", compared, compared == 1 ? "" : "s");
  if (!missing.empty()) {
    text += fmt::format("; {} not in the candidate: {}", missing.size(), names_text(missing));
  }
  text += "\n" + unused_text(prompt, color);
  return fmt::format("{}\n{}\n{}\n", colored(shown(prompt.id), Color::kBold, color), table.text(),
                     wrapped(text, 2));
}

}  // namespace

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

std::string failure_cause(const CompareReport& report) {
  if (report.passed) return "";
  std::size_t compared = 0;
  std::size_t failures = 0;
  std::vector<std::string> causes;
  for (const PromptResult& prompt : report.prompts) {
    std::vector<std::string> unreadable;
    for (const TensorResult& t : prompt.tensors) {
      compared += t.verdict != Verdict::kNotCompared ? 1 : 0;
      failures += t.verdict == Verdict::kFail ? 1 : 0;
      if (t.verdict == Verdict::kError) unreadable.push_back(t.name);
    }
    if (!unreadable.empty()) {
      causes.push_back(
          fmt::format("{} of {} cannot be compared", names_text(unreadable), prompt.id));
    }
    if (prompt.tokens.verdict == Verdict::kError) {
      causes.push_back(fmt::format("the text of {} cannot be compared", prompt.id));
    } else if (prompt.tokens.verdict == Verdict::kFail) {
      causes.push_back(fmt::format("the text of {} {}", prompt.id, prompt.tokens.reason));
    }
  }
  if (failures > 0) {
    causes.insert(causes.begin(),
                  fmt::format("{} of {} arrays fail profile {}, which requires that {}", failures,
                              compared, report.profile, report.statement));
  } else if (!causes.empty()) {
    causes.push_back("no array fails");
  } else {
    causes.push_back("nothing was compared");
  }
  return fmt::format("{}", fmt::join(causes, "; "));
}

std::string compare_text(const CompareReport& report, bool every_tensor, bool color) {
  std::string text;
  for (const PromptResult& prompt : report.prompts) {
    text += prompt_text(prompt, every_tensor, color);
  }
  std::string end;
  if (!report.missing_prompts.empty()) {
    end += fmt::format("{}: {} of the reference's prompts {} not in the candidate: {}\n",
                       colored("Note", Color::kYellow, color), report.missing_prompts.size(),
                       report.missing_prompts.size() == 1 ? "is" : "are",
                       names_text(report.missing_prompts));
  }
  if (!report.unused_files.empty()) {
    end += fmt::format("{}: not read: {}\n", colored("Note", Color::kYellow, color),
                       names_text(report.unused_files));
  }
  if (report.passed && !report.blind_spots.empty()) {
    end +=
        fmt::format("{}: these prompts cannot reveal {} common mistake{}: {}\n",
                    colored("Note", Color::kYellow, color), report.blind_spots.size(),
                    report.blind_spots.size() == 1 ? "" : "s", fmt::join(report.blind_spots, "; "));
  }
  if (report.passed && report.coarse) {
    end +=
        "Something is computed in a coarser type than the values are stored in, or slightly wrong: "
        "assay diagnose tells which. With --strict this fails.\n";
  }
  if (!report.precision.empty()) end += fmt::format("Precision: {}\n", report.precision);
  const std::string verdict = !report.passed  ? colored("FAIL", Color::kRed, color)
                              : report.coarse ? colored("COARSE", Color::kYellow, color)
                                              : colored("PASS", Color::kGreen, color);
  end += fmt::format(
      "{}: {}\n", verdict,
      report.passed ? fmt::format("{}profile {}, which requires that {}",
                                  report.coarse ? "passes " : "", report.profile, report.statement)
                    : failure_cause(report));
  return text + wrapped(end, 2);
}

}  // namespace assay
