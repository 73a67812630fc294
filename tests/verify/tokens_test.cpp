// The greedy text of candidates.
#include "verify/tokens.h"

#include <gtest/gtest.h>

#include "verify/candidate.h"

namespace assay {
namespace {

TEST(Text, JudgesEveryStep) {
  Candidate candidate;
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
  Candidate good;
  options.candidate = good.write();
  const CompareReport same = compare(options);
  for (const TokenStep& step : same.prompts[0].tokens.steps) {
    EXPECT_EQ(step.verdict, StepVerdict::kMatch) << step.position;
  }
}

// A text that splits from the reference's somewhere.
class Split : public testing::Test {
 protected:
  static constexpr std::int64_t kVocab = 2560;

  TokenResult judged(Candidate& candidate, bool& passed) {
    const CompareReport report = compare(options_for(candidate.write()));
    passed = report.passed;
    return report.prompts.at(0).tokens;
  }
};

TEST_F(Split, IsJudgedByTheCandidatesLogitsOfThatPosition) {
  for (const auto& [behind, verdict] : {std::pair{0.0F, StepVerdict::kTie},
                                        {0.125F, StepVerdict::kTie},
                                        {2.0F, StepVerdict::kDiverged}}) {
    Candidate candidate;
    const std::int64_t own = candidate["generated_ids"].as<std::int64_t>()[8];
    candidate["generated_ids"].as<std::int64_t>()[8] = 3;
    // Logits of decode steps too: position 7 chooses the token at 8. One BF16 step at 16 is 0.125.
    Array& logits = candidate["logits"];
    logits.shape = {1, 9, kVocab};
    logits.bytes.resize(9 * kVocab * sizeof(float));
    const auto row = logits.as<float>().subspan(7 * kVocab, kVocab);
    row[3] = 20;
    row[static_cast<std::size_t>(own)] = 20 - behind;
    bool passed = false;
    const TokenResult tokens = judged(candidate, passed);
    EXPECT_EQ(tokens.first_difference, 8);
    EXPECT_EQ(tokens.steps[3].verdict, verdict) << behind;
    EXPECT_EQ(tokens.steps[2].verdict, StepVerdict::kMatch);
    EXPECT_EQ(tokens.steps[4].verdict, StepVerdict::kUnknown);
    EXPECT_EQ(passed, verdict == StepVerdict::kTie);
  }
}

TEST_F(Split, AtTheFirstTokenIsJudgedByTheReferencesLogits) {
  // The worst of all tokens there.
  Candidate reference_itself;
  const auto row = reference_itself.values("logits").subspan(4 * kVocab, kVocab);
  const auto worst = std::ranges::min_element(row) - row.begin();
  Candidate candidate;
  candidate.erase("logits");
  candidate["generated_ids"].as<std::int64_t>()[5] = worst;
  bool passed = true;
  const TokenResult tokens = judged(candidate, passed);
  EXPECT_EQ(tokens.steps[0].verdict, StepVerdict::kDiverged);
  EXPECT_GT(tokens.steps[0].steps, 100);
  EXPECT_FALSE(passed);
}

TEST_F(Split, WithoutLogitsIsADifference) {
  Candidate candidate;
  candidate["generated_ids"].as<std::int64_t>()[8] = 3;
  bool passed = true;
  const TokenResult tokens = judged(candidate, passed);
  EXPECT_EQ(tokens.steps[3].verdict, StepVerdict::kUnknown);
  EXPECT_FALSE(passed);
}

}  // namespace
}  // namespace assay
