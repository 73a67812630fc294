#include "verify/tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "assay/error.h"
#include "assay/taps.h"
#include "base/widen.h"
#include "metrics/logits.h"
#include "model/generate.h"

namespace assay {
namespace {

// [1, S, vocab] as float: which BF16 step a logit is on does not need more.
template <class N>
Array logits_over(const Model& model, std::span<const std::int64_t> ids, ThreadPool& pool,
                  const Kernels<N>& with = kernels<N>(chosen_simd())) {
  ForwardPass<N> forward(model, pool, with);
  TapSet taps(model.spec);
  taps.add("logits");
  Recorder recorder(model.spec, taps, static_cast<std::int64_t>(ids.size()));
  KvCache<N> cache(model.spec, ids.size());
  const Chunk<N> chunk{ids, &cache, &recorder};
  forward.run({&chunk, 1});
  return std::move(recorder.take().front());
}

}  // namespace

Array logits_over(std::string_view numerics, const Model& model, std::span<const std::int64_t> ids,
                  ThreadPool& pool) {
  if (numerics == F32::kName) return logits_over<F32>(model, ids, pool);
  if (numerics == F64::kName) return logits_over<F64>(model, ids, pool);
  if (numerics == "fast") return logits_over<Bf16>(model, ids, pool, fast_kernels());
  return logits_over<Bf16>(model, ids, pool);
}

TokenResult compare_tokens(std::span<const std::int64_t> reference,
                           std::span<const std::int64_t> candidate, std::size_t prompt_tokens) {
  TokenResult result;
  result.compared = true;
  const std::size_t count = std::max(reference.size(), candidate.size());
  for (std::size_t i = prompt_tokens; i < count; ++i) {
    TokenStep step;
    step.position = static_cast<std::int64_t>(i);
    if (i < reference.size()) step.reference_id = reference[i];
    if (i < candidate.size()) step.candidate_id = candidate[i];
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
  if (row >= rows || !is_token(step->reference_id) || !is_token(step->candidate_id)) return;
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

TokenResult replay_tokens(const std::filesystem::path& model_directory, std::string_view numerics,
                          std::span<const std::int64_t> reference,
                          std::span<const std::int64_t> candidate, std::size_t prompt_tokens,
                          ThreadPool& pool) {
  TokenResult result = compare_tokens(reference, candidate, prompt_tokens);
  const Model model = load_model(model_directory);
  check_token_ids(candidate, model.spec, "the candidate's generated_ids");
  const Array logits = logits_over(numerics, model, candidate, pool);
  const auto vocab = static_cast<std::size_t>(model.spec.vocab_size);
  result.replayed = true;
  result.steps.clear();
  for (std::size_t i = prompt_tokens; i < candidate.size(); ++i) {
    const auto row = logits.as<float>().subspan((i - 1) * vocab, vocab);
    TokenStep step;
    step.position = static_cast<std::int64_t>(i);
    step.candidate_id = candidate[i];
    step.reference_id = argmax(row);
    const double best = row[static_cast<std::size_t>(step.reference_id)];
    const double chosen = row[static_cast<std::size_t>(step.candidate_id)];
    step.steps = best == chosen ? 0 : (best - chosen) / bf16_step(best);
    step.verdict = step.candidate_id == step.reference_id ? StepVerdict::kMatch
                   : step.steps <= kTieSteps              ? StepVerdict::kTie
                                                          : StepVerdict::kDiverged;
    result.steps.push_back(step);
  }
  return result;
}

}  // namespace assay
