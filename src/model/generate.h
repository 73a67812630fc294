// Greedy generation: prompts are run whole, short ones together; then all sequences decode
// together.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "model/executor.h"

namespace assay {

template <class N>
struct GenerateRequest {
  std::span<const std::int64_t> prompt;            // at least one id
  Observer<typename N::Real>* observer = nullptr;  // of the prompt
};

struct Generated {
  std::vector<std::int64_t> ids;  // prompt and continuation, an EOS id included
  bool stopped_by_eos = false;
};

// Called after each token with the request's number of tokens so far, and the newest one.
using OnToken = std::function<void(std::size_t request, std::int64_t count, std::int64_t id)>;

// Throws an input error, naming `where`, unless there is at least one id, no more than
// max_position_embeddings, and each is in [0, vocab_size).
void check_token_ids(std::span<const std::int64_t> ids, const ModelSpec& spec,
                     std::string_view where);

// Prompts run together while they have at most this many tokens, so the weights are read once for
// them.
inline constexpr std::size_t kPrefillTokens = 512;

// The end of the requests that begin at `begin` and are prefilled in one step, at least one.
// length(i): tokens of request i's prompt.
template <class Length>
std::size_t prefill_end(std::size_t begin, std::size_t count, const Length& length) {
  std::size_t tokens = length(begin);
  std::size_t end = begin + 1;
  while (end < count && tokens + length(end) <= kPrefillTokens) tokens += length(end++);
  return end;
}

// The id of the highest logit, the lowest id among equals; NaN counts as highest, as in
// torch.argmax.
template <class Real>
std::int64_t argmax(std::span<const Real> logits);

// Continues every prompt greedily by at most max_new_tokens, each until an id of eos_token_ids is
// appended. Each result is the same as for that prompt alone.
template <class N>
std::vector<Generated> generate_greedy(Executor<N>& executor, const Model& model,
                                       std::span<const GenerateRequest<N>> requests,
                                       std::int64_t max_new_tokens,
                                       std::span<const std::int64_t> eos_token_ids,
                                       const OnToken& on_token = {});

}  // namespace assay
