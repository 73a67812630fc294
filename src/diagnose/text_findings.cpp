#include "diagnose/text_findings.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string>
#include <utility>

#include "base/text.h"
#include "candidate/ids.h"
#include "diagnose/findings.h"
#include "diagnose/text_mistakes.h"
#include "model/checkpoint.h"
#include "model/generate.h"
#include "tokenizer/tokenizer.h"

namespace assay {
namespace {

// Adds each mistake once.
void add(Diagnosis& d, const TextMistake& found, std::string where, std::string tap) {
  const bool known = std::ranges::any_of(
      d.findings, [&](const Finding& f) { return f.mistake.id == found.entry->id; });
  if (known) return;
  Finding finding;
  finding.mistake = mistake_of(*found.entry);
  finding.detail = found.detail;
  finding.where = std::move(where);
  finding.taps = {std::move(tap)};
  finding.of_text = true;
  const bool first = found.entry->group == "tokens";
  d.findings.insert(first ? d.findings.begin() : d.findings.end(), std::move(finding));
  const bool open =
      d.verdict == DiagnosisVerdict::kUnexplained || d.verdict == DiagnosisVerdict::kPartlyNamed;
  d.verdict = open ? DiagnosisVerdict::kPartlyNamed : DiagnosisVerdict::kNamed;
}

void unexplained(Diagnosis& d, const std::string& prompt, std::string tap, std::string operation,
                 std::string text) {
  Place place;
  place.prompt = prompt;
  place.tap = std::move(tap);
  place.operation = std::move(operation);
  place.relations.push_back({std::move(text), 0});
  if (!d.first) d.first = place;
  d.unexplained.push_back(std::move(place));
  d.verdict = d.findings.empty() ? DiagnosisVerdict::kUnexplained : DiagnosisVerdict::kPartlyNamed;
}

// The best token by the candidate's own logits of the position before `at`, if it ran the text up
// to there.
std::optional<std::int64_t> own_best(const Evidence& own, std::span<const std::int64_t> text,
                                     std::size_t at) {
  const Site* logits = own.find(Tap::kLogits, 0);
  if (logits == nullptr || at > own.ids.size() || at > text.size()) return std::nullopt;
  if (!std::ranges::equal(std::span(own.ids).first(at), text.first(at))) return std::nullopt;
  const std::size_t first_row = own.ids.size() - logits->rows;
  if (at <= first_row) return std::nullopt;
  return argmax(std::span<const float>(logits->values)
                    .subspan((at - 1 - first_row) * logits->width, logits->width));
}

}  // namespace

void add_text_findings(Diagnosis& d, const Model& model, const std::vector<Evidence>& evidence,
                       const std::vector<ExpectedTokens>& expected, ThreadPool& pool) {
  bool wrong = false;
  std::optional<Tokenizer> tokenizer;
  for (std::size_t e = 0; e < evidence.size(); ++e) {
    const Evidence& own = evidence[e];
    if (!expected[e].ids || !own.ran_other_tokens) continue;
    wrong = true;
    if (!tokenizer) tokenizer = try_load_tokenizer(model.directory);
    const auto found = explain_ids(*expected[e].ids, own.ids, tokenizer ? &*tokenizer : nullptr);
    if (found) {
      add(d, *found, fmt::format("in the tokens of prompt {}", own.id), "input_ids");
    } else {
      unexplained(
          d, own.id, "input_ids", "tokenization",
          fmt::format("{} tokens, {} in the reference", own.ids.size(), expected[e].ids->size()));
    }
  }
  // After a wrong forward pass a different text is expected.
  const bool right =
      d.verdict == DiagnosisVerdict::kCorrect || d.verdict == DiagnosisVerdict::kRounding;
  for (std::size_t e = 0; e < evidence.size() && right; ++e) {
    const Evidence& own = evidence[e];
    if (!own.generated) continue;
    const bool same = !wrong && expected[e].generated;
    const std::span<const std::int64_t> prompt = std::span(own.ids).first(own.prompt);
    std::optional<std::vector<std::int64_t>> whole = whole_text(
        prompt, *own.generated, same ? *expected[e].generated : std::vector<std::int64_t>());
    const auto foreign = std::ranges::find_if(
        *own.generated, [&](std::int64_t id) { return id < 0 || id >= model.spec.vocab_size; });
    if (foreign != own.generated->end()) {
      unexplained(
          d, own.id, "generated_ids", "the choice of the token",
          fmt::format("token {} is outside the vocabulary of {}", *foreign, model.spec.vocab_size));
      continue;
    }
    if (!whole) {
      d.unreadable.push_back(fmt::format(
          "{}: generated_ids begins neither with the prompt's tokens nor with the reference's "
          "first new one",
          shown(own.id)));
      continue;
    }
    whole->resize(without_padding(*whole, prompt.size(), model.eos_token_ids).size());
    const std::size_t judged =
        std::min(whole->size(), static_cast<std::size_t>(model.spec.longest_sequence()));
    const TextVerdict text = explain_text(
        model, std::span(*whole).first(judged), prompt.size(),
        [&](std::size_t at) { return own_best(own, *whole, at); },
        same ? expected[e].generated : std::nullopt, pool);
    if (text.missing > 0 && judged == whole->size()) {
      const std::size_t found = judged - prompt.size();
      d.notes.push_back(
          fmt::format("{}: generated_ids is right as far as it goes, {} of {} tokens. If the "
                      "engine was to write them all, check its stop ids",
                      own.id, found, found + text.missing));
    }
    if (text.good) continue;
    if (text.mistake) {
      add(d, *text.mistake, fmt::format("in the text of prompt {}", own.id), "generated_ids");
    } else {
      unexplained(d, own.id, "generated_ids", "the forward pass or the choice of the token",
                  fmt::format("not the best token at position {}; dump the prompt and the new "
                              "tokens as one run, with logits, to tell which",
                              text.position));
    }
  }
}

}  // namespace assay
