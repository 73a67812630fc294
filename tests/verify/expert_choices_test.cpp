#include "verify/expert_choices.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "candidate/expert_ids.h"

namespace assay {
namespace {

Array logits_of(const std::vector<std::vector<float>>& tokens) {
  Array array{"layer_00_router_logits", DType::kF32, {1, std::ssize(tokens), 8}, {}};
  array.bytes.resize(tokens.size() * 8 * sizeof(float));
  std::size_t at = 0;
  for (const auto& token : tokens) {
    for (const float logit : token) array.as<float>()[at++] = logit;
  }
  return array;
}

const std::vector<float> kClear = {4, 3, 2, 1, 0.5, 0, 0, 0};
const std::vector<float> kTied = {4, 3, 2, 2.0F - 0x1p-6F,
                                  1, 0, 0, 0};  // the third by one BF16 step

struct Judged {
  TensorResult result;
  std::int64_t until = 0;  // of the layer's output
};

Judged judged(ExpertChoices& choices, std::int64_t layer, const Array& own, const Array& theirs,
              const Array* logits, const Array* exact = nullptr, std::int64_t first = 0) {
  const ArrayView own_view = own.view();
  const ArrayView theirs_view = theirs.view();
  const ArrayView logits_view = logits != nullptr ? logits->view() : ArrayView();
  const ArrayView exact_view = exact != nullptr ? exact->view() : ArrayView();
  Judged answer;
  choices.judge(answer.result, layer,
                {.reference = own_view,
                 .oracle = exact != nullptr ? &exact_view : nullptr,
                 .router_scores = logits != nullptr ? &logits_view : nullptr,
                 .candidate = theirs_view,
                 .first = first});
  answer.until = choices.same_until({Tap::kLayerOutput, layer});
  return answer;
}

TEST(ExpertChoices, OthersWithNearlyEqualLogitsPassAndEndTheComparison) {
  ExpertChoices choices;
  const Array logits = logits_of({kClear, kTied, kClear});
  const Array own = ids_of({0, 1, 2, 0, 1, 2, 0, 1, 2});
  const Array other = ids_of({2, 1, 0, 0, 1, 3, 0, 1, 2});
  const Judged first = judged(choices, 0, own, other, &logits);
  EXPECT_EQ(first.result.verdict, Verdict::kPass);
  EXPECT_EQ(first.result.reason,
            "1 of 3 positions go to other experts with nearly equal router scores");
  EXPECT_EQ(first.until, 1);
  EXPECT_EQ(choices.same_until({Tap::kRouterLogits, 0}), ExpertChoices::kAll);
  EXPECT_EQ(choices.same_until({Tap::kLogits, -1}), 1);
  // In the next layer these positions are not judged, and the others are.
  const Array clear = logits_of({kClear, kClear, kClear});
  EXPECT_EQ(judged(choices, 1, own, ids_of({0, 1, 2, 5, 6, 7, 5, 6, 7}), &clear).result.verdict,
            Verdict::kPass);
  EXPECT_EQ(judged(choices, 1, own, ids_of({0, 1, 5, 0, 1, 2, 0, 1, 2}), &clear).result.verdict,
            Verdict::kFail);
}

TEST(ExpertChoices, OthersAreWrong) {
  const Array own = ids_of({0, 1, 2, 0, 1, 2});
  const Array logits = logits_of({kClear, kClear});
  ExpertChoices choices;
  const Judged far = judged(choices, 0, own, ids_of({0, 1, 2, 0, 1, 3}), &logits);
  EXPECT_EQ(far.result.verdict, Verdict::kFail);
  EXPECT_EQ(far.result.reason,
            "position 1 is routed to expert 3 instead of 2: router scores 1 and 2");
  EXPECT_EQ(far.until, ExpertChoices::kAll);
  EXPECT_EQ(judged(choices, 0, own, ids_of({0, 1, 2, 0, 1, 3}), nullptr).result.verdict,
            Verdict::kFail);
  // One of several tied experts chosen twice is wrong: of eight equal ones, each may be chosen
  // once.
  const Array equal = logits_of({{1, 1, 1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 1, 1}});
  EXPECT_EQ(judged(choices, 0, own, ids_of({0, 1, 2, 0, 1, 1}), &equal).result.verdict,
            Verdict::kFail);
  EXPECT_EQ(judged(choices, 0, own, ids_of({0, 1, 2, 0, 1, 7}), &equal).result.verdict,
            Verdict::kPass);
  Array halves{"layer_00_expert_ids", DType::kF32, {1, 2, 3}, {}};
  halves.bytes.resize(6 * sizeof(float));
  std::ranges::copy(std::vector<float>{0, 1, 2, 0, 1, 2.5F}, halves.as<float>().begin());
  ExpertChoices others;
  EXPECT_EQ(judged(others, 0, own, halves, &equal).result.verdict, Verdict::kFail);
  // Invalid ids.
  const Array tied = logits_of({kTied, kTied});
  EXPECT_EQ(judged(choices, 0, own, ids_of({0, 1, 2, 0, -4, 300}), &tied).result.verdict,
            Verdict::kFail);
}

TEST(ExpertChoices, TheOraclesAreRight) {
  const Array own = ids_of({0, 1, 2, 0, 1, 2});
  const Array exact = ids_of({0, 1, 2, 0, 1, 5});
  const Array logits = logits_of({kClear, kClear});
  ExpertChoices choices;
  const Judged answer = judged(choices, 0, own, ids_of({0, 1, 2, 5, 1, 0}), &logits, &exact);
  EXPECT_EQ(answer.result.verdict, Verdict::kPass);
  EXPECT_EQ(answer.until, ExpertChoices::kAll);
  EXPECT_EQ(judged(choices, 0, own, ids_of({0, 1, 2, 6, 1, 0}), &logits, &exact).result.verdict,
            Verdict::kFail);
}

TEST(ExpertChoices, PiecesCountFromTheirOwnPosition) {
  const Array own = ids_of({0, 1, 2});
  const Array logits = logits_of({kTied});
  ExpertChoices choices;
  EXPECT_EQ(judged(choices, 0, own, ids_of({0, 1, 3}), &logits, nullptr, 7).until, 7);
  EXPECT_EQ(judged(choices, 0, own, ids_of({0, 1, 3}), &logits, nullptr, 4).until, 4);
}

}  // namespace
}  // namespace assay
