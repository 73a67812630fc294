#include "diagnose/text_mistakes.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <set>

#include "metrics/logits.h"
#include "model/generate.h"
#include "verify/tokens.h"

namespace assay {
namespace {

using Ids = std::span<const std::int64_t>;

const Entry* entry(std::string_view id) {
  const auto found = std::ranges::find(text_catalog(), id, &Entry::id);
  return &*found;
}

std::string named(std::int64_t id, const Tokenizer* tokenizer) {
  const std::string text = tokenizer != nullptr ? tokenizer->decode({&id, 1}) : "";
  return text.empty() ? fmt::format("{}", id) : fmt::format("{} '{}'", id, text);
}

bool contains(Ids whole, Ids part) {
  return std::search(whole.begin(), whole.end(), part.begin(), part.end()) != whole.end();
}

bool is_special(std::int64_t id, const Tokenizer& tokenizer) {
  return tokenizer.decode({&id, 1}, true).empty() && !tokenizer.decode({&id, 1}).empty();
}

bool has_special(Ids ids, const Tokenizer& tokenizer) {
  return std::ranges::any_of(ids, [&](std::int64_t id) { return is_special(id, tokenizer); });
}

std::optional<TextMistake> other_ids_of_the_text(Ids reference, Ids candidate,
                                                 const Tokenizer& tokenizer) {
  const std::string text = tokenizer.decode(reference);
  const std::string other = tokenizer.decode(candidate);
  if (other == ' ' + text || text == ' ' + other) {
    return TextMistake{entry("tok-leading-space"),
                       other.size() > text.size() ? "one was added" : "one was lost"};
  }
  if (other == text && has_special(reference, tokenizer) && !has_special(candidate, tokenizer)) {
    return TextMistake{entry("tok-special-as-text"), ""};
  }
  if (other == text) {
    const auto [a, b] = std::ranges::mismatch(reference, candidate);
    return TextMistake{
        entry("tok-split"),
        fmt::format("from token {} on: {} instead of {}", a - reference.begin(),
                    b != candidate.end() ? named(*b, &tokenizer) : std::string("nothing"),
                    a != reference.end() ? named(*a, &tokenizer) : std::string("nothing"))};
  }
  if (std::ranges::equal(tokenizer.encode(other), reference)) {
    return TextMistake{entry("tok-normalization"), ""};
  }
  return std::nullopt;
}

// Whether the text is greedy's under changed logits, at every step.
template <class Choose>
bool explains_all(Ids text, std::size_t prompt, const Choose& choose) {
  for (std::size_t i = prompt; i < text.size(); ++i) {
    if (!choose(i, text[i])) return false;
  }
  return true;
}

// The logits that decide each token of the text. A right token is the best of them in BF16, or of
// exact ones, which an engine may be nearer to.
class TextSteps {
 public:
  TextSteps(const Model& model, Ids text, ThreadPool& pool)
      : vocab_(static_cast<std::size_t>(model.spec.vocab_size)),
        rounded_(logits_over(Numerics::kBf16, model, text, pool)),
        exact_([&model, text, &pool] { return logits_over(Numerics::kF64, model, text, pool); }) {}

  // Whether the token is the best after `at` tokens, or so close to it that rounding decides.
  // change: what is done to the logits before.
  template <class Change>
  bool is_best(std::size_t at, std::int64_t id, const Change& change) {
    if (is_best(row(rounded_, at), id, change)) return true;
    if (!exact_logits_) exact_logits_ = exact_();
    return is_best(row(*exact_logits_, at), id, change);
  }
  bool is_best(std::size_t at, std::int64_t id) {
    return is_best(at, id, [](std::span<float>) {});
  }

 private:
  std::vector<float> row(const Array& logits, std::size_t at) const {
    const auto found = logits.as<float>().subspan((at - 1) * vocab_, vocab_);
    return {found.begin(), found.end()};
  }
  template <class Change>
  static bool is_best(std::vector<float> logits, std::int64_t id, const Change& change) {
    change(std::span(logits));
    const double best = logits[static_cast<std::size_t>(argmax(std::span<const float>(logits)))];
    return (best - logits[static_cast<std::size_t>(id)]) <= kTieSteps * bf16_step(best);
  }

  std::size_t vocab_;
  Array rounded_;
  std::function<Array()> exact_;
  std::optional<Array> exact_logits_;
};

bool with_penalty(TextSteps& steps, Ids text, std::size_t prompt, double penalty) {
  return explains_all(text, prompt, [&](std::size_t i, std::int64_t id) {
    return steps.is_best(i, id, [&](std::span<float> logits) {
      const std::set<std::int64_t> seen(text.begin(),
                                        text.begin() + static_cast<std::ptrdiff_t>(i));
      for (const std::int64_t old : seen) {
        float& x = logits[static_cast<std::size_t>(old)];
        x = static_cast<float>(x > 0 ? x / penalty : x * penalty);
      }
    });
  });
}

}  // namespace

const std::vector<Entry>& text_catalog() {
  static const std::vector<Entry> entries = {
      {"bos-extra",
       "tokens",
       "a token before the prompt",
       "The prompt begins with a token that the reference does not have (a BOS, perhaps twice).",
       "add_bos_token, and a template that adds one more",
       3,
       false,
       {}},
      {"bos-missing",
       "tokens",
       "the prompt's first token is missing",
       "The reference's first token was not given to the model.",
       "add_bos_token",
       3,
       false,
       {}},
      {"tok-end-added",
       "tokens",
       "a token after the prompt",
       "The prompt ends with a token that the reference does not have (an EOS).",
       "what the tokenizer appends",
       1,
       false,
       {}},
      {"tok-template",
       "tokens",
       "the prompt is wrapped in a template",
       "The prompt's tokens are surrounded by others.",
       "the chat template",
       2,
       false,
       {}},
      {"tok-truncated",
       "tokens",
       "the prompt is truncated",
       "Some of the prompt's tokens are missing.",
       "the maximum length of a prompt",
       1,
       false,
       {}},
      {"tok-leading-space",
       "tokens",
       "a leading space",
       "A space before the text was added or lost.",
       "add_prefix_space, add_dummy_prefix; stripping of the prompt",
       2,
       false,
       {}},
      {"tok-special-as-text",
       "tokens",
       "special tokens encoded as plain text",
       "The text contains special tokens, which were split like any other text.",
       "parse_special; added_tokens of tokenizer.json",
       3,
       false,
       {}},
      {"tok-split",
       "tokens",
       "the same text in different tokens",
       "The text is the same but split differently: a different pre-tokenizer pattern or different "
       "merges.",
       "the split pattern (digits, contractions, spaces) and the order of merges",
       3,
       false,
       {}},
      {"tok-normalization",
       "tokens",
       "text not normalised",
       "The text is in a different Unicode form (composed or decomposed letters).",
       "the normalizer (NFC)",
       1,
       false,
       {}},
      {"gen-eos-ignored",
       "generation",
       "generation continues past the end",
       "An end-of-text token was generated but did not stop it.",
       "eos_token_id of generation_config.json: it may be a list",
       3,
       false,
       {}},
      {"gen-repetition-penalty",
       "generation",
       "a repetition penalty",
       "The logits of tokens that occurred before are lowered.",
       "the defaults of the sampler: greedy has none",
       2,
       false,
       {}},
      {"gen-stale-logits",
       "generation",
       "each token chosen one step late",
       "The token comes from the logits of the position before the last.",
       "which row of logits is sampled from, and reused buffers",
       2,
       false,
       {}},
      {"gen-not-greedy",
       "generation",
       "the best token is not taken",
       "The logits are right, but a token other than the best is chosen (sampling).",
       "temperature, top_k, top_p; argmax over the whole vocabulary",
       3,
       false,
       {}},
  };
  return entries;
}

std::optional<TextMistake> explain_ids(Ids reference, Ids candidate, const Tokenizer* tokenizer) {
  const std::size_t r = reference.size();
  const std::size_t c = candidate.size();
  if (c > r && std::ranges::equal(candidate.last(r), reference)) {
    const Ids extra = candidate.first(c - r);
    const bool same = std::ranges::all_of(extra, [&](std::int64_t id) { return id == extra[0]; });
    if (same) {
      return TextMistake{
          entry("bos-extra"),
          fmt::format("{}{}", named(extra[0], tokenizer),
                      extra.size() > 1 ? fmt::format(", {} times", extra.size()) : "")};
    }
  }
  if (c + 1 == r && std::ranges::equal(candidate, reference.last(c))) {
    return TextMistake{entry("bos-missing"), named(reference[0], tokenizer)};
  }
  if (c == r + 1 && std::ranges::equal(candidate.first(r), reference)) {
    return TextMistake{entry("tok-end-added"), named(candidate.back(), tokenizer)};
  }
  if (c > r && contains(candidate, reference)) {
    return TextMistake{entry("tok-template"), fmt::format("{} more tokens", c - r)};
  }
  // Check the text before truncation: a lost space may be a lost token.
  if (tokenizer != nullptr) {
    if (auto found = other_ids_of_the_text(reference, candidate, *tokenizer)) return found;
  }
  if (c < r && contains(reference, candidate)) {
    return TextMistake{entry("tok-truncated"), fmt::format("{} of {} tokens", c, r)};
  }
  return std::nullopt;
}

TextVerdict explain_text(const Model& model, Ids text, std::size_t prompt, const OwnBest& own_best,
                         const std::optional<std::vector<std::int64_t>>& expected,
                         ThreadPool& pool) {
  TextVerdict verdict;
  if (text.size() <= prompt) return verdict;
  const auto is_end = [&](std::int64_t id) {
    return std::ranges::find(model.eos_token_ids, id) != model.eos_token_ids.end();
  };
  TextSteps steps(model, text, pool);
  const auto is_right = [&](std::size_t i) {
    return own_best(i) == text[i] || steps.is_best(i, text[i]);
  };
  std::size_t first = prompt;
  while (first < text.size() && is_right(first)) ++first;
  const auto end = std::ranges::find_if(text.subspan(prompt), is_end);
  const auto after = static_cast<std::size_t>(end - text.begin()) + 1;
  if (after < text.size() && after <= first) {
    verdict = {false, static_cast<std::int64_t>(after), TextMistake{entry("gen-eos-ignored"), ""}};
    verdict.mistake->detail = fmt::format("{}", text[after - 1]);
    return verdict;
  }
  if (first == text.size()) {
    if (expected && expected->size() > text.size() && !is_end(text.back()) &&
        std::ranges::equal(Ids(*expected).first(text.size()), text)) {
      verdict.missing = expected->size() - text.size();
    }
    return verdict;
  }
  verdict.good = false;
  verdict.position = static_cast<std::int64_t>(first);
  for (const double penalty : {1.05, 1.1, 1.15, 1.2, 1.3, 1.5, 2.0}) {
    if (with_penalty(steps, text, prompt, penalty)) {
      verdict.mistake = TextMistake{entry("gen-repetition-penalty"), fmt::format("{}", penalty)};
      return verdict;
    }
  }
  if (prompt >= 2 && explains_all(text, prompt, [&](std::size_t i, std::int64_t id) {
        return steps.is_best(i - 1, id);
      })) {
    verdict.mistake = TextMistake{entry("gen-stale-logits"), ""};
  } else if (own_best(first)) {
    verdict.mistake =
        TextMistake{entry("gen-not-greedy"), fmt::format("first at position {}", first)};
  }
  return verdict;
}

}  // namespace assay
