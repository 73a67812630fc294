// The greedy text of candidates.
#include "verify/tokens.h"

#include <gtest/gtest.h>

#include <functional>

#include "candidate/ids.h"
#include "verify/candidate.h"

namespace assay {
namespace {

TEST(Text, JudgesEveryStep) {
  SpoiledDump candidate;
  candidate["generated_ids"].as<std::int64_t>()[8] = 3;
  CompareOptions options = options_for(candidate.write());
  {
    const CompareReport report = compare(options);
    EXPECT_FALSE(report.passed);
    EXPECT_EQ(report.prompts[0].tokens.first_difference, 8);
    EXPECT_EQ(report.prompts[0].tokens.steps[3].verdict, StepVerdict::kUnknown);
  }
  options.model = kModel;
  const CompareReport report = compare(options);
  EXPECT_FALSE(report.passed);
  const TokenResult& tokens = report.prompts[0].tokens;
  EXPECT_TRUE(tokens.replayed);
  ASSERT_EQ(tokens.steps.size(), 20u);
  EXPECT_EQ(tokens.steps[2].verdict, StepVerdict::kMatch);
  EXPECT_EQ(tokens.steps[3].verdict, StepVerdict::kDiverged);
  EXPECT_EQ(tokens.steps[3].candidate_id, 3);
  EXPECT_GT(tokens.steps[3].steps, 2);

  // The reference's own text matches at every step.
  SpoiledDump good;
  options.candidate = good.write();
  const CompareReport same = compare(options);
  for (const TokenStep& step : same.prompts[0].tokens.steps) {
    EXPECT_EQ(step.verdict, StepVerdict::kMatch) << step.position;
  }
}

// The candidate with a different text.
CompareReport with_text(const std::function<void(std::vector<std::int64_t>&)>& change,
                        const std::filesystem::path& model = {}) {
  SpoiledDump candidate;
  Array& text = candidate["generated_ids"];
  const auto own = text.as<std::int64_t>();
  std::vector<std::int64_t> ids(own.begin(), own.end());
  change(ids);
  text.shape = {1, static_cast<std::int64_t>(ids.size())};
  const auto bytes = std::as_bytes(std::span(ids));
  text.bytes.assign(bytes.begin(), bytes.end());
  CompareOptions options = options_for(candidate.write());
  options.model = model;
  return compare(options);
}

TEST(Text, AnInvalidTokenFailsThere) {
  for (const std::int64_t foreign : {std::int64_t{-5}, std::int64_t{2560}, std::int64_t{1} << 40}) {
    for (const std::filesystem::path& model : {std::filesystem::path(), kModel}) {
      const CompareReport report =
          with_text([&](std::vector<std::int64_t>& ids) { ids[9] = foreign; }, model);
      EXPECT_FALSE(report.passed);
      const TokenResult& tokens = report.prompts[0].tokens;
      EXPECT_EQ(tokens.verdict, Verdict::kFail);
      EXPECT_NE(tokens.reason.find("position 9"), std::string::npos) << tokens.reason;
      EXPECT_EQ(tokens.replayed, !model.empty());
    }
  }
}

TEST(Text, MayBeShorterThanThePrompt) {
  const std::vector<std::int64_t> text = {1, 2, 3};
  const TokenResult result = compare_tokens(text, text, 5);
  EXPECT_FALSE(result.compared);
  EXPECT_EQ(result.reference_tokens, 0);
  EXPECT_EQ(result.candidate_tokens, 0);
}

TEST(Text, IsJudgedOverTheCommonLength) {
  for (const bool only_new : {false, true}) {
    SCOPED_TRACE(only_new);
    const auto given = [&](std::vector<std::int64_t>& ids) {
      if (only_new) ids.erase(ids.begin(), ids.begin() + 5);
    };
    const CompareReport whole = with_text(given);
    EXPECT_TRUE(whole.passed);
    EXPECT_EQ(whole.prompts[0].tokens.steps.size(), 20u);
    EXPECT_EQ(whole.prompts[0].tokens.reason, "");

    const CompareReport shorter = with_text([&](std::vector<std::int64_t>& ids) {
      ids.resize(13);
      given(ids);
    });
    EXPECT_TRUE(shorter.passed);
    EXPECT_EQ(shorter.prompts[0].tokens.verdict, Verdict::kPass);
    EXPECT_EQ(shorter.prompts[0].tokens.reason, "8 of 20 tokens: agrees as far as it goes");

    const CompareReport longer = with_text([&](std::vector<std::int64_t>& ids) {
      ids.push_back(7);
      given(ids);
    });
    EXPECT_TRUE(longer.passed);
    EXPECT_EQ(longer.prompts[0].tokens.reason,
              "21 tokens, 20 in the reference: agrees as far as that goes");

    const CompareReport wrong = with_text([&](std::vector<std::int64_t>& ids) {
      ids.resize(13);
      ids[8] = 3;
      given(ids);
    });
    EXPECT_FALSE(wrong.passed);
    EXPECT_EQ(wrong.prompts[0].tokens.verdict, Verdict::kFail);
    EXPECT_EQ(wrong.prompts[0].tokens.first_difference, 8);
    EXPECT_EQ(wrong.prompts[0].tokens.reason, "differs at position 8");
  }
}

TEST(Text, OfOnlyNewTokensIsReplayedAfterThePrompt) {
  const CompareReport report = with_text(
      [](std::vector<std::int64_t>& ids) {
        ids.resize(13);
        ids.erase(ids.begin(), ids.begin() + 5);
      },
      kModel);
  EXPECT_TRUE(report.passed);
  EXPECT_TRUE(report.prompts[0].tokens.replayed);
  EXPECT_EQ(report.prompts[0].tokens.steps.size(), 8u);
  EXPECT_EQ(report.prompts[0].tokens.reason, "8 of 20 tokens: agrees as far as it goes");
}

// An engine in FP32 is nearer to the oracle than the reference, and may write what that writes.
TEST(Text, MayEqualTheOraclesInsteadOfTheReferences) {
  const std::vector<std::int64_t> prompt = {1, 2};
  const std::vector<std::int64_t> reference = {1, 2, 3, 4, 5, 6};
  const std::vector<std::int64_t> exact = {1, 2, 3, 9, 8, 7};
  const auto judged = [&](const std::vector<std::int64_t>& text) {
    return judge_text({prompt, reference, exact}, text, nullptr, nullptr, "ids");
  };
  const TokenResult whole = judged(exact);
  EXPECT_EQ(whole.verdict, Verdict::kPass);
  EXPECT_EQ(whole.first_difference, 3);
  EXPECT_NE(whole.reason.find("from position 3 on"), std::string::npos) << whole.reason;
  EXPECT_EQ(judged({1, 2, 3, 9}).verdict, Verdict::kPass);
  EXPECT_EQ(judged({3, 9, 8, 7}).verdict, Verdict::kPass);
  EXPECT_EQ(judged(reference).verdict, Verdict::kPass);
  EXPECT_EQ(judged({1, 2, 3, 9, 8, 6}).verdict, Verdict::kFail);
  EXPECT_EQ(judged({1, 2, 3, 4, 8, 7}).verdict, Verdict::kFail);
}

// An end token stops a text. What batches are padded with is no text.
TEST(Text, GoesOnAfterItsEnd) {
  const std::vector<std::int64_t> prompt = {1, 2};
  const std::vector<std::int64_t> reference = {1, 2, 3, 4, 0};
  const std::vector<std::int64_t> ends = {0, 9};
  const auto judged = [&](const std::vector<std::int64_t>& text,
                          const std::vector<std::int64_t>& exact = {}) {
    return judge_text({prompt, reference, exact, ends}, text, nullptr, nullptr, "ids");
  };
  for (const std::vector<std::int64_t>& text : {std::vector<std::int64_t>{1, 2, 3, 4, 0},
                                                {1, 2, 3, 4, 0, 0},
                                                {3, 4, 0, 9},
                                                {3, 4, 0, 7, 7}}) {
    const TokenResult right = judged(text);
    EXPECT_EQ(right.verdict, Verdict::kPass) << text.size();
    EXPECT_EQ(right.candidate_tokens, 3);
    EXPECT_FALSE(right.past_end);
  }
  for (const std::vector<std::int64_t>& text :
       {std::vector<std::int64_t>{1, 2, 3, 4, 0, 7}, {3, 4, 0, 7, 8, 8}}) {
    const TokenResult wrong = judged(text);
    EXPECT_EQ(wrong.verdict, Verdict::kFail) << text.size();
    EXPECT_EQ(wrong.past_end, 5);
    EXPECT_EQ(wrong.reason, "goes on at position 5, after an end token");
  }
  // That the oracle's text is longer is no excuse.
  EXPECT_EQ(judged({1, 2, 3, 9, 5, 6}, {1, 2, 3, 9, 5, 6}).verdict, Verdict::kFail);
  // A prompt may contain end tokens.
  const std::vector<std::int64_t> chat = {1, 9, 2};
  EXPECT_EQ(judge_text({chat, std::vector<std::int64_t>{1, 9, 2, 5}, {}, ends},
                       std::vector<std::int64_t>{1, 9, 2, 5}, nullptr, nullptr, "ids")
                .verdict,
            Verdict::kPass);
}

TEST(Text, ThatIsOfAnotherPromptIsAnErrorOfThatArrayAlone) {
  const CompareReport report = with_text([](std::vector<std::int64_t>& ids) {
    ids.assign({1, 2, 3});
  });
  EXPECT_FALSE(report.passed);
  const PromptResult& prompt = report.prompts[0];
  EXPECT_EQ(prompt.tokens.verdict, Verdict::kError);
  EXPECT_NE(prompt.tokens.reason.find("begins neither with the prompt"), std::string::npos);
  EXPECT_EQ(tensor(prompt, "logits").verdict, Verdict::kPass);
}

TEST(Text, WithoutNewTokensIsNotCompared) {
  for (const std::size_t size : {5, 0}) {
    const CompareReport report = with_text([&](auto& ids) { ids.resize(size); });
    EXPECT_TRUE(report.passed);
    EXPECT_EQ(report.prompts[0].tokens.verdict, Verdict::kNotCompared);
    EXPECT_EQ(report.prompts[0].tokens.reason, "0 of 20 tokens: agrees as far as it goes");
  }
}

TEST(Text, IsReadAsWhatFitsTheReference) {
  const std::vector<std::int64_t> prompt = {4, 5};
  const std::vector<std::int64_t> expected = {4, 5, 4, 5, 6};
  const auto read = [&](const std::vector<std::int64_t>& text) {
    return whole_text(prompt, text, expected);
  };
  EXPECT_EQ(read({4, 5, 4, 5, 6}), expected);
  EXPECT_EQ(read({4, 5, 6}), expected);  // new tokens that begin like the prompt
  EXPECT_EQ(read({4, 5, 4}), (std::vector<std::int64_t>{4, 5, 4}));
  EXPECT_EQ(read({4, 5, 9}), (std::vector<std::int64_t>{4, 5, 4, 5, 9}));
  EXPECT_EQ(read({4}), (std::vector<std::int64_t>{4, 5, 4}));
  EXPECT_EQ(read({9, 4, 5}), std::nullopt);
  // The same token at the start of prompt and continuation decides nothing.
  EXPECT_EQ(
      whole_text(prompt, std::vector<std::int64_t>{4, 5, 9}, std::vector<std::int64_t>{4, 5, 4, 7}),
      (std::vector<std::int64_t>{4, 5, 9}));
  EXPECT_EQ(whole_text(prompt, std::vector<std::int64_t>{6}, {}), std::nullopt);
  EXPECT_EQ(whole_text(prompt, expected, {}), expected);
}

// A text that splits from the reference's somewhere.
class Split : public testing::Test {
 protected:
  static constexpr std::int64_t kVocab = 2560;

  TokenResult judged(SpoiledDump& candidate, bool& passed) {
    const CompareReport report = compare(options_for(candidate.write()));
    passed = report.passed;
    return report.prompts.at(0).tokens;
  }
};

TEST_F(Split, IsJudgedByTheCandidatesLogitsOfThatPosition) {
  for (const auto& [gap, verdict] : {std::pair{0.0F, StepVerdict::kTie},
                                     {0.125F, StepVerdict::kTie},
                                     {2.0F, StepVerdict::kDiverged}}) {
    SpoiledDump candidate;
    const std::int64_t own = candidate["generated_ids"].as<std::int64_t>()[8];
    candidate["generated_ids"].as<std::int64_t>()[8] = 3;
    // Logits of decode steps too: position 7 chooses the token at 8. One BF16 step at 16 is 0.125.
    Array& logits = candidate["logits"];
    logits.shape = {1, 9, kVocab};
    logits.bytes.resize(9 * kVocab * sizeof(float));
    const auto row = logits.as<float>().subspan(7 * kVocab, kVocab);
    row[3] = 20;
    row[static_cast<std::size_t>(own)] = 20 - gap;
    bool passed = false;
    const TokenResult tokens = judged(candidate, passed);
    EXPECT_EQ(tokens.first_difference, 8);
    EXPECT_EQ(tokens.steps[3].verdict, verdict) << gap;
    EXPECT_EQ(tokens.steps[2].verdict, StepVerdict::kMatch);
    EXPECT_EQ(tokens.steps[4].verdict, StepVerdict::kUnknown);
    EXPECT_EQ(passed, verdict == StepVerdict::kTie);
  }
}

TEST_F(Split, AtTheFirstTokenIsJudgedByTheReferencesLogits) {
  // The worst of all tokens there.
  SpoiledDump reference_itself;
  const auto row = reference_itself.values("logits").subspan(4 * kVocab, kVocab);
  const auto worst = std::ranges::min_element(row) - row.begin();
  SpoiledDump candidate;
  candidate.erase("logits");
  candidate["generated_ids"].as<std::int64_t>()[5] = worst;
  bool passed = true;
  const TokenResult tokens = judged(candidate, passed);
  EXPECT_EQ(tokens.steps[0].verdict, StepVerdict::kDiverged);
  EXPECT_GT(tokens.steps[0].steps, 100);
  EXPECT_FALSE(passed);
}

TEST_F(Split, WithoutLogitsIsADifference) {
  SpoiledDump candidate;
  candidate["generated_ids"].as<std::int64_t>()[8] = 3;
  bool passed = true;
  const TokenResult tokens = judged(candidate, passed);
  EXPECT_EQ(tokens.steps[3].verdict, StepVerdict::kUnknown);
  EXPECT_FALSE(passed);
}

}  // namespace
}  // namespace assay
