#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "report/diagnose_report.h"
#include "report/like_lines.h"
#include "report/table.h"

namespace assay {
namespace {

// A paragraph that begins with `title` and is indented after it.
std::string paragraph(std::string_view title, std::string_view text) {
  constexpr std::size_t kIndent = 13;
  return wrapped(fmt::format("  {:<{}}{}", title, kIndent - 2, text), kIndent) + '\n';
}

std::string error_text(double error) {
  return error >= 1e3 ? std::string("huge") : fmt::format("{:.2g}", error);
}

std::string with_detail(const Mistake& mistake, std::string_view detail) {
  return fmt::format("{}{}{}", mistake.name, detail.empty() ? "" : ": ", detail);
}

// "0, 1, 2, 3" -> "0-3"
std::string ranges(const std::vector<std::int64_t>& numbers) {
  constexpr std::size_t kMost = 8;
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t end = i + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
    parts.push_back(end - i > 2 ? fmt::format("{}-{}", numbers[i], numbers[end - 1])
                                : fmt::format("{}", numbers[i]));
    i = end - i > 2 ? end : i + 1;
  }
  const bool more = parts.size() > kMost;
  if (more) parts.resize(kMost);
  return fmt::format("{}{}", fmt::join(parts, ", "), more ? ", ..." : "");
}

std::string finding_text(const Finding& f, bool color) {
  std::string text = wrapped(fmt::format("{}  {}\n", colored(f.mistake.id, Color::kBold, color),
                                         with_detail(f.mistake, f.detail)),
                             2);
  text += paragraph("what", f.mistake.explanation);
  const std::string taps = fmt::format("{}", fmt::join(f.taps, ", "));
  if (f.of_text) {
    text += paragraph("where", f.where);
  } else if (!f.built_in) {
    text += paragraph("where", fmt::format("{}; seen in {}", f.where, taps));
    text += paragraph("evidence",
                      fmt::format("error {}, expected for that type: {:.2g}; not confirmed against "
                                  "a model with this mistake",
                                  error_text(f.error_before), f.noise));
  } else {
    text += paragraph("where", fmt::format("{}; explains {}", f.where, taps));
    text += paragraph(
        "evidence",
        fmt::format("error {} against the correct model, {} against the model with this mistake "
                    "(expected rounding error: {:.2g}); {:.4g} % of the elements are then "
                    "bit-identical",
                    error_text(f.error_before), error_text(f.error_after), f.noise,
                    100 * f.exact_after));
  }
  text += paragraph("look at", f.mistake.look_at);
  for (const Finding::Alternative& other : f.alternatives) {
    text += paragraph(
        "or", fmt::format("{} ({}): error {}", other.mistake.id,
                          with_detail(other.mistake, other.detail), error_text(other.error_after)));
    if (!other.separated_by.empty()) text += paragraph("", other.separated_by);
  }
  return text + '\n';
}

std::string place_text(std::string_view title, const Place& p) {
  std::string text =
      wrapped(fmt::format("{}  {} of prompt {}\n", title, p.tap, shown(p.prompt)), 2);
  text += paragraph("operation", p.operation);
  if (p.noise > 0) {
    text += paragraph(
        "error", fmt::format("{} (expected rounding error: {:.2g})", error_text(p.error), p.noise));
  }
  if (p.layer_count > 1) {
    const bool all = std::ssize(p.layers) == p.layer_count;
    text += paragraph("layers", all ? "all" : ranges(p.layers));
  }
  if (!p.positions.empty()) text += paragraph("positions", ranges(p.positions));
  if (!p.heads.empty()) text += paragraph("heads", ranges(p.heads));
  if (!p.channels.empty()) text += paragraph("channels", ranges(p.channels));
  for (const Relation& r : p.relations) {
    text += paragraph("looks like", p.noise > 0 && std::isfinite(r.error)
                                        ? fmt::format("{} (leaves {})", r.text, error_text(r.error))
                                        : r.text);
  }
  return text + '\n';
}

}  // namespace

std::string diagnose_text(const Diagnosis& d, bool color) {
  std::vector<std::string> prompts;
  for (const std::string& prompt : d.prompts) prompts.push_back(shown(prompt));
  std::string text =
      wrapped(fmt::format("{} prompt{} ({}), {} array{}: {}; values in {}\n\n", prompts.size(),
                          prompts.size() == 1 ? "" : "s", fmt::join(prompts, ", "), d.arrays,
                          d.arrays == 1 ? "" : "s", d.seen, d.rounding),
              2);
  for (const Finding& f : d.findings) text += finding_text(f, color);
  for (const Place& p : d.unexplained) {
    text += place_text(d.findings.empty() ? "first error" : "unexplained", p);
  }
  for (const std::string& finding : one_of_each_kind(d.dump)) {
    text += wrapped(fmt::format("The dump: {}\n", finding), 2);
  }
  for (const std::string& one : d.unreadable) {
    text += wrapped(fmt::format("Not read: {}\n", one), 2);
  }
  for (const std::string& note : d.notes) text += wrapped(fmt::format("Note: {}\n", note), 2);
  const bool good =
      d.verdict == DiagnosisVerdict::kCorrect || d.verdict == DiagnosisVerdict::kRounding;
  std::string verdict(verdict_name(d.verdict));
  std::ranges::transform(verdict, verdict.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  return text + wrapped(fmt::format("{}: {}\n",
                                    colored(verdict, good ? Color::kGreen : Color::kRed, color),
                                    d.summary),
                        2);
}

std::string power_text(std::span<const BlindSpot> spots, std::span<const Prompt> prompts,
                       bool color) {
  Table blind({{"mistake"}, {"what is wrong"}});
  Table seen({{"mistake"}, {"seen by"}, {"what is wrong"}});
  std::size_t blind_count = 0;
  for (const BlindSpot& spot : spots) {
    const std::string by = spot.seen_by.size() == prompts.size()
                               ? std::string("all")
                               : fmt::format("{}", fmt::join(spot.seen_by, ", "));
    const std::string name = spot.name + (spot.common ? " (common)" : "");
    if (spot.is_blind()) {
      blind.add({spot.id, name});
      ++blind_count;
    } else {
      seen.add({spot.id, by, name});
    }
  }
  std::string text;
  if (blind_count < spots.size()) text += seen.text() + '\n';
  if (blind_count > 0) {
    text += wrapped(
        fmt::format(
            "{} by any prompt, in the embedding, layer outputs and logits of a BF16 engine:\n\n",
            colored("Not seen", Color::kRed, color)),
        2);
    text += blind.text() + '\n';
  }
  return text +
         fmt::format("{} of {} mistakes are revealed\n", spots.size() - blind_count, spots.size());
}

std::string mistakes_text(std::span<const Mistake> mistakes) {
  Table table({{"id"}, {"group"}, {"what is wrong"}});
  for (const Mistake& m : mistakes) table.add({m.id, m.group, m.name});
  return table.text() + fmt::format("{} mistakes; --json explains each\n", mistakes.size());
}

}  // namespace assay
