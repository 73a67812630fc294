#include "verify/tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "assay/error.h"
#include "base/widen.h"
#include "candidate/ids.h"
#include "metrics/logits.h"
#include "model/generate.h"
#include "model/recorder.h"
#include "models/taps.h"
#include "numerics/numerics.h"

namespace assay {
namespace {

// [1, S, vocab] as float, which is precise enough to count a logit's BF16 steps.
template <class N>
Array logits_over(const Model& model, std::span<const std::int64_t> ids, ThreadPool& pool,
                  const Kernels<N>& with = kernels<N>(chosen_simd())) {
  Executor<N> executor(model, pool, with);
  TapSet taps(model.spec);
  taps.add("logits");
  Recorder<typename N::Real> recorder(model.spec, taps, static_cast<std::int64_t>(ids.size()));
  SequenceState<N> sequence(model.program, ids.size());
  const Chunk<N> chunk{ids, &sequence, &recorder};
  executor.run({&chunk, 1});
  return std::move(recorder.take().front());
}

// How far the token's logit is below the best, in BF16 steps; infinitely far for no token at all.
double steps_below_best(std::span<const float> logits, std::int64_t id) {
  if (id < 0 || id >= std::ssize(logits)) return std::numeric_limits<double>::infinity();
  const double best = logits[static_cast<std::size_t>(argmax(logits))];
  const double own = logits[static_cast<std::size_t>(id)];
  return best == own ? 0 : (best - own) / bf16_step(best);
}

// Notes where a text goes on after its end.
void find_end(TokenResult& tokens, std::span<const std::int64_t> text, std::size_t prompt,
              std::span<const std::int64_t> ends) {
  const std::size_t length = length_to_end(text, prompt, ends);
  if (length < text.size()) tokens.past_end = static_cast<std::int64_t>(length);
}

// Sets verdict and reason from the steps and the end.
void conclude(TokenResult& tokens) {
  tokens.verdict = tokens.compared ? Verdict::kPass : Verdict::kNotCompared;
  for (const TokenStep& step : tokens.steps) {
    if (!is_wrong(tokens, step)) continue;
    tokens.verdict = Verdict::kFail;
    tokens.reason = fmt::format("differs at position {}", step.position);
    return;
  }
  if (tokens.past_end) {
    tokens.verdict = Verdict::kFail;
    tokens.reason = fmt::format("goes on at position {}, after an end token", *tokens.past_end);
    return;
  }
  if (tokens.candidate_tokens < tokens.reference_tokens) {
    tokens.reason = fmt::format("{} of {} tokens: agrees as far as it goes",
                                tokens.candidate_tokens, tokens.reference_tokens);
  } else if (tokens.candidate_tokens > tokens.reference_tokens && !tokens.replayed) {
    tokens.reason = fmt::format("{} tokens, {} in the reference: agrees as far as that goes",
                                tokens.candidate_tokens, tokens.reference_tokens);
  }
}

}  // namespace

Array logits_over(Numerics numerics, const Model& model, std::span<const std::int64_t> ids,
                  ThreadPool& pool) {
  return with_numerics(numerics, [&]<class N>(N) { return logits_over<N>(model, ids, pool); });
}

TokenResult compare_tokens(std::span<const std::int64_t> reference,
                           std::span<const std::int64_t> candidate, std::size_t prompt_tokens) {
  TokenResult result;
  result.compared = std::min(reference.size(), candidate.size()) > prompt_tokens;
  const auto after_prompt = [&](std::span<const std::int64_t> text) {
    return std::max<std::int64_t>(std::ssize(text) - static_cast<std::int64_t>(prompt_tokens), 0);
  };
  result.reference_tokens = after_prompt(reference);
  result.candidate_tokens = after_prompt(candidate);
  const std::size_t count = std::min(reference.size(), candidate.size());
  for (std::size_t i = prompt_tokens; i < count; ++i) {
    TokenStep step;
    step.position = static_cast<std::int64_t>(i);
    step.reference_id = reference[i];
    step.candidate_id = candidate[i];
    if (!result.first_difference && step.reference_id == step.candidate_id) {
      step.verdict = StepVerdict::kMatch;
    } else if (!result.first_difference) {
      result.first_difference = step.position;
    }
    result.steps.push_back(step);
  }
  return result;
}

void judge_split(TokenResult& tokens, const ArrayView& logits) {
  if (!tokens.first_difference || logits.shape.empty()) return;
  const auto step = std::ranges::find(tokens.steps, *tokens.first_difference, &TokenStep::position);
  const std::int64_t vocab = logits.shape.back();
  if (step == tokens.steps.end() || step->verdict != StepVerdict::kUnknown || vocab < 1) return;
  const std::int64_t rows = element_count(logits.shape, logits.name) / vocab;
  const std::int64_t row = step->position - 1;
  const auto is_token = [&](std::int64_t id) { return id >= 0 && id < vocab; };
  if (row < 0 || row >= rows || !is_token(step->reference_id) || !is_token(step->candidate_id))
    return;
  const std::size_t item = dtype_size(logits.dtype);
  const auto logit = [&](std::int64_t id) {
    double value = 0;
    widen(logits.dtype, &logits.bytes[static_cast<std::size_t>(row * vocab + id) * item], 0,
          std::span(&value, 1));
    return value;
  };
  const double a = logit(step->reference_id);
  const double b = logit(step->candidate_id);
  step->steps = a == b ? 0 : std::abs(a - b) / bf16_step(std::max(std::abs(a), std::abs(b)));
  step->verdict = step->steps <= kTieSteps ? StepVerdict::kTie : StepVerdict::kDiverged;
}

TokenResult judge_text(const KnownText& known, std::span<const std::int64_t> candidate,
                       const ArrayView* reference_logits, const ArrayView* candidate_logits,
                       std::string_view where) {
  const std::optional<std::vector<std::int64_t>> whole =
      whole_text(known.prompt, candidate, known.reference);
  if (!whole) {
    TokenResult result;
    result.verdict = Verdict::kError;
    result.reason = fmt::format(
        "{}: begins neither with the prompt's tokens nor with the reference's first new one",
        where);
    return result;
  }
  const std::size_t prompt = known.prompt.size();
  const std::span<const std::int64_t> text = without_padding(*whole, prompt, known.ends);
  TokenResult result = compare_tokens(known.reference, text, prompt);
  find_end(result, text, prompt, known.ends);
  if (reference_logits != nullptr) judge_split(result, *reference_logits);
  if (candidate_logits != nullptr) judge_split(result, *candidate_logits);
  conclude(result);
  if (!result.first_difference || result.verdict != Verdict::kFail || known.exact.empty() ||
      result.past_end) {
    return result;
  }
  const TokenResult exact = compare_tokens(known.exact, text, prompt);
  if (!exact.compared || exact.first_difference) return result;
  std::ranges::find(result.steps, *result.first_difference, &TokenStep::position)->verdict =
      StepVerdict::kTie;
  result.verdict = Verdict::kPass;
  result.reason = fmt::format(
      "equals the f64 oracle's, as far as it goes; the reference's differs from "
      "position {} on",
      *result.first_difference);
  return result;
}

TokenResult replay_tokens(const std::filesystem::path& model_directory, Numerics numerics,
                          std::span<const std::int64_t> reference,
                          std::span<const std::int64_t> candidate, std::size_t prompt_tokens,
                          ThreadPool& pool) {
  const Model model = load_model(model_directory);
  candidate = without_padding(candidate, prompt_tokens, model.eos_token_ids);
  TokenResult result = compare_tokens(reference, candidate, prompt_tokens);
  find_end(result, candidate, prompt_tokens, model.eos_token_ids);
  const auto is_token = [&](std::int64_t id) { return id >= 0 && id < model.spec.vocab_size; };
  // As far as the model can run, which also judges the token after that.
  const std::size_t run = std::min(
      static_cast<std::size_t>(std::ranges::find_if_not(candidate, is_token) - candidate.begin()),
      static_cast<std::size_t>(model.spec.longest_sequence()));
  check_token_ids(candidate.first(run), model.spec, "the candidate's generated_ids");
  const Array logits = logits_over(numerics, model, candidate.first(run), pool);
  const auto vocab = static_cast<std::size_t>(model.spec.vocab_size);
  result.replayed = true;
  result.steps.clear();
  for (std::size_t i = prompt_tokens; i < std::min(run + 1, candidate.size()); ++i) {
    const auto row = logits.as<float>().subspan((i - 1) * vocab, vocab);
    TokenStep step;
    step.position = static_cast<std::int64_t>(i);
    step.candidate_id = candidate[i];
    step.reference_id = argmax(row);
    step.steps = steps_below_best(row, step.candidate_id);
    step.verdict = step.candidate_id == step.reference_id ? StepVerdict::kMatch
                   : step.steps <= kTieSteps              ? StepVerdict::kTie
                                                          : StepVerdict::kDiverged;
    result.steps.push_back(step);
  }
  // An engine that is more exact than the reference may choose what exact logits choose.
  if (numerics != Numerics::kF64 &&
      std::ranges::count(result.steps, StepVerdict::kDiverged, &TokenStep::verdict) > 0) {
    const Array exact = logits_over(Numerics::kF64, model, candidate.first(run), pool);
    for (TokenStep& step : result.steps) {
      if (step.verdict != StepVerdict::kDiverged) continue;
      const auto before = static_cast<std::size_t>(step.position - 1);
      const auto row = exact.as<float>().subspan(before * vocab, vocab);
      if (steps_below_best(row, step.candidate_id) <= kTieSteps) step.verdict = StepVerdict::kTie;
    }
  }
  conclude(result);
  return result;
}

}  // namespace assay
