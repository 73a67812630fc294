#include "model/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "assay/error.h"

namespace assay {

void check_token_ids(std::span<const std::int64_t> ids, const ModelSpec& spec,
                     std::string_view where) {
  const auto count = static_cast<std::int64_t>(ids.size());
  if (count == 0) throw input_error(where, "no tokens", "at least one");
  if (count > spec.longest_sequence()) {
    throw input_error(
        where, fmt::format("{} tokens", count),
        fmt::format("at most {} (max_position_embeddings, or what the RoPE scaling allows)",
                    spec.longest_sequence()));
  }
  for (const std::int64_t id : ids) {
    if (id < 0 || id >= spec.vocab_size) {
      throw input_error(
          where, fmt::format("token id {}", id),
          fmt::format("0 to {} (vocab_size {})", spec.vocab_size - 1, spec.vocab_size));
    }
  }
}

template <class Real>
std::int64_t argmax(std::span<const Real> logits) {
  std::size_t best = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i])) return static_cast<std::int64_t>(i);
    if (logits[i] > logits[best]) best = i;
  }
  return static_cast<std::int64_t>(best);
}

template <class N>
std::vector<Generated> generate_greedy(Executor<N>& executor, const Model& model,
                                       std::span<const GenerateRequest<N>> requests,
                                       std::int64_t max_new_tokens,
                                       std::span<const std::int64_t> eos_token_ids,
                                       const OnToken& on_token) {
  using Real = typename N::Real;
  const auto vocab = static_cast<std::size_t>(model.spec.vocab_size);
  std::vector<Generated> results(requests.size());
  std::vector<SequenceState<N>> sequences;
  std::vector<std::size_t> active;
  std::vector<std::int64_t> counts(requests.size(), 0);

  const auto append = [&](std::size_t r, std::span<const Real> logits) {
    const std::int64_t id = argmax(logits);
    results[r].ids.push_back(id);
    results[r].stopped_by_eos = std::ranges::find(eos_token_ids, id) != eos_token_ids.end();
    ++counts[r];
    if (on_token) on_token(r, counts[r], id);
    return !results[r].stopped_by_eos && counts[r] < max_new_tokens;
  };

  std::vector<Chunk<N>> chunks;
  sequences.reserve(requests.size());
  for (std::size_t begin = 0; begin < requests.size();) {
    const std::size_t end = prefill_end(begin, requests.size(),
                                        [&](std::size_t r) { return requests[r].prompt.size(); });
    chunks.clear();
    for (std::size_t r = begin; r < end; ++r) {
      const auto prompt = requests[r].prompt;
      results[r].ids.assign(prompt.begin(), prompt.end());
      sequences.emplace_back(model.program,
                             prompt.size() + static_cast<std::size_t>(max_new_tokens));
      chunks.push_back({prompt, &sequences[r], requests[r].observer});
    }
    const std::span<const Real> logits = executor.run(chunks);
    for (std::size_t r = begin; r < end && max_new_tokens > 0; ++r) {
      if (append(r, logits.subspan((r - begin) * vocab, vocab))) active.push_back(r);
    }
    begin = end;
  }

  std::vector<std::size_t> still_active;
  while (!active.empty()) {
    chunks.clear();
    for (const std::size_t r : active) {
      const std::span<const std::int64_t> ids = results[r].ids;
      const bool anew = model.spec.starts_anew(std::ssize(ids) - 1, std::ssize(ids));
      if (anew) sequences[r].rewind(0);
      chunks.push_back({anew ? ids : ids.last(1), &sequences[r]});
    }
    const std::span<const Real> logits = executor.run(chunks);
    still_active.clear();
    for (std::size_t i = 0; i < active.size(); ++i) {
      if (append(active[i], logits.subspan(i * vocab, vocab))) still_active.push_back(active[i]);
    }
    active.swap(still_active);
  }
  return results;
}

template std::int64_t argmax(std::span<const float>);
template std::int64_t argmax(std::span<const double>);
#define ASSAY_INSTANTIATE(N)                                                         \
  template std::vector<Generated> generate_greedy(                                   \
      Executor<N>&, const Model&, std::span<const GenerateRequest<N>>, std::int64_t, \
      std::span<const std::int64_t>, const OnToken&);
ASSAY_INSTANTIATE(Bf16)
ASSAY_INSTANTIATE(F32)
ASSAY_INSTANTIATE(F64)
#undef ASSAY_INSTANTIATE

}  // namespace assay
