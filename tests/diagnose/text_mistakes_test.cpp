#include "diagnose/text_mistakes.h"

#include <gtest/gtest.h>

#include <set>

#include "model/generate.h"

namespace assay {
namespace {

using Ids = std::vector<std::int64_t>;

const std::filesystem::path kModel = ASSAY_ROOT "/models/tiny-qwen3";

const Tokenizer& tokenizer() {
  static const Tokenizer own = Tokenizer::load(kModel / "tokenizer.json");
  return own;
}

std::string named(const Ids& reference, const Ids& candidate) {
  const auto found = explain_ids(reference, candidate, &tokenizer());
  return found ? std::string(found->entry->id) : "none";
}

Ids with(Ids front, const Ids& back) {
  front.insert(front.end(), back.begin(), back.end());
  return front;
}

TEST(ExplainIds, NamesWhatWasDoneToThePrompt) {
  const std::string text = "The capital of France is";
  const Ids ids = tokenizer().encode(text);
  const Ids end = tokenizer().encode("<|endoftext|>");
  ASSERT_EQ(end.size(), 1u);
  EXPECT_EQ(named(ids, with(end, ids)), "bos-extra");
  EXPECT_EQ(named(with(end, ids), with(end, with(end, ids))), "bos-extra");
  EXPECT_EQ(named(with(end, ids), ids), "bos-missing");
  EXPECT_EQ(named(ids, with(ids, end)), "tok-end-added");
  EXPECT_EQ(named(ids, with(with(Ids{5, 6}, ids), Ids{7})), "tok-template");
  EXPECT_EQ(named(ids, tokenizer().encode(" " + text)), "tok-leading-space");
  EXPECT_EQ(named(tokenizer().encode(" " + text), ids), "tok-leading-space");
  // One token per byte: the same text.
  Ids bytes;
  for (const char c : text) bytes = with(bytes, tokenizer().encode(std::string(1, c)));
  ASSERT_NE(bytes, ids);
  EXPECT_EQ(named(ids, bytes), "tok-split");
  EXPECT_EQ(named(ids, Ids(ids.begin(), ids.end() - 2)), "tok-truncated");
  EXPECT_EQ(named(ids, {1, 2, 3}), "none");
}

TEST(ExplainIds, SeesSpecialTokensAsText) {
  const Ids ids = tokenizer().encode("<|endoftext|>Hi");
  Ids split;
  for (const char c : std::string("<|endoftext|>Hi")) {
    split = with(split, tokenizer().encode(std::string(1, c)));
  }
  EXPECT_EQ(named(ids, split), "tok-special-as-text");
}

TEST(ExplainIds, SeesAnotherUnicodeForm) {
  const Ids composed = tokenizer().encode("caf\u00e9");
  Ids decomposed;
  for (const std::string piece : {"c", "a", "f", "e"}) {
    decomposed = with(decomposed, tokenizer().encode(piece));
  }
  // The combining accent's bytes in the byte alphabet, because encode() would compose them.
  for (const std::int64_t id : tokenizer().encode("\u0301")) decomposed.push_back(id);
  EXPECT_EQ(named(composed, decomposed), "tok-normalization");
}

class ExplainText : public testing::Test {
 protected:
  ExplainText() : model_(load_model(kModel)), pool_(1), prompt_(tokenizer().encode(kText)) {
    Executor<Bf16> executor(model_, pool_);
    const GenerateRequest<Bf16> request{prompt_};
    right_ = generate_greedy<Bf16>(executor, model_, {&request, 1}, 12, {})[0].ids;
  }

  static std::optional<std::int64_t> nothing(std::size_t /*at*/) { return std::nullopt; }
  std::string verdict(const Ids& text, const OwnBest& own_best = nothing) {
    const TextVerdict found = explain_text(model_, text, prompt_.size(), own_best, right_, pool_);
    return found.good ? "good" : found.mistake ? std::string(found.mistake->entry->id) : "unknown";
  }

  static constexpr const char* kText = "The capital of France is";
  Model model_;
  ThreadPool pool_;
  Ids prompt_;
  Ids right_;
};

TEST_F(ExplainText, OfARightTextSaysNothing) { EXPECT_EQ(verdict(right_), "good"); }

TEST_F(ExplainText, PassesARightTextThatIsShorter) {
  const Ids shorter(right_.begin(), right_.end() - 4);
  const TextVerdict found = explain_text(model_, shorter, prompt_.size(), nothing, right_, pool_);
  EXPECT_TRUE(found.good);
  EXPECT_FALSE(found.mistake);
  EXPECT_EQ(found.missing, 4U);
}

TEST_F(ExplainText, MissesNothingAfterAnEndToken) {
  const Ids shorter(right_.begin(), right_.end() - 4);
  model_.eos_token_ids = {shorter.back()};
  EXPECT_EQ(explain_text(model_, shorter, prompt_.size(), nothing, right_, pool_).missing, 0U);
}

TEST_F(ExplainText, SeesThatTheEndWasPassed) {
  model_.eos_token_ids = {right_[right_.size() - 3]};
  EXPECT_EQ(verdict(right_), "gen-eos-ignored");
}

TEST_F(ExplainText, NamesSamplingOnlyWhereTheLogitsAreRight) {
  Ids other = right_;
  other[prompt_.size() + 2] = (other[prompt_.size() + 2] + 100) % 2000;
  EXPECT_EQ(verdict(other, [&](std::size_t at) { return right_[at]; }), "gen-not-greedy");
  EXPECT_EQ(verdict(other), "unknown");
  // Logits of the prompt alone say nothing about how later tokens were chosen.
  EXPECT_EQ(verdict(other,
                    [&](std::size_t at) {
                      return at == prompt_.size() ? std::optional(right_[at]) : std::nullopt;
                    }),
            "unknown");
}

TEST_F(ExplainText, PassesTheBestOfTheEnginesOwnLogits) {
  // An 8-bit engine's logits are right within their noise, and may have another best token.
  Ids other = right_;
  other.back() = (other.back() + 100) % 2000;
  EXPECT_EQ(verdict(other, [&](std::size_t at) { return other[at]; }), "good");
}

TEST_F(ExplainText, FindsARepetitionPenalty) {
  // Greedy with the penalty of transformers' RepetitionPenaltyLogitsProcessor.
  Ids text = prompt_;
  for (int step = 0; step < 12; ++step) {
    Executor<Bf16> executor(model_, pool_);
    SequenceState<Bf16> sequence(model_.program, text.size());
    const Chunk<Bf16> chunk{text, &sequence};
    const auto own = executor.run({&chunk, 1});
    std::vector<float> logits(own.begin(), own.end());
    for (const std::int64_t id : std::set<std::int64_t>(text.begin(), text.end())) {
      float& x = logits[static_cast<std::size_t>(id)];
      x = x > 0 ? x / 2 : x * 2;
    }
    text.push_back(argmax(std::span<const float>(logits)));
  }
  ASSERT_NE(text, right_);
  EXPECT_EQ(verdict(text), "gen-repetition-penalty");
}

TEST_F(ExplainText, FindsStaleLogits) {
  Ids text = prompt_;
  for (int step = 0; step < 10; ++step) {
    Executor<Bf16> executor(model_, pool_);
    const Ids before(text.begin(), text.end() - 1);
    SequenceState<Bf16> sequence(model_.program, before.size());
    const Chunk<Bf16> chunk{before, &sequence};
    const auto own = executor.run({&chunk, 1});
    text.push_back(argmax(std::span<const float>(own.data(), own.size())));
  }
  EXPECT_EQ(verdict(text), "gen-stale-logits");
}

}  // namespace
}  // namespace assay
