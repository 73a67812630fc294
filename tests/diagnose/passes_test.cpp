// The same dumps, from an engine that runs some positions at a time.
#include "diagnose/dump_in_forms.h"

namespace assay {
namespace {

class InPasses : public OneWayIn {};

TEST_P(InPasses, TheRightRunPasses) {
  make(false);
  for (const std::int64_t step : {1, 4, 7, 32}) {
    const CompareReport report = checked_in_passes(step);
    EXPECT_TRUE(report.passed) << step << '\n' << failures(report);
    for (const TensorResult& t : report.prompts.at(0).tensors) {
      if (!parse_tap_name(t.name) || t.name.starts_with("rope_")) continue;
      EXPECT_EQ(t.verdict, Verdict::kPass) << step << ' ' << t.name << ": " << t.reason;
    }
  }
}

TEST_P(InPasses, TheWrongOneFails) {
  make(true);
  for (const std::int64_t step : {1, 4, 32}) {
    const CompareReport report = checked_in_passes(step);
    EXPECT_FALSE(report.passed) << step;
    const PromptResult& prompt = report.prompts.at(0);
    ASSERT_TRUE(prompt.first_divergence);
    EXPECT_EQ(prompt.tensors[*prompt.first_divergence].name, "layer_01_attn_context")
        << step << ' ' << failures(report);
  }
}

std::vector<std::size_t> forms_in_passes() {
  std::vector<std::size_t> chosen;
  for (const std::string_view name :
       {"Plain", "GoesOn", "GoesOnPadded", "PaddedInFront", "PaddedByOne", "PaddedBehind",
        "PaddedBothSides", "ExpertsInAnotherOrder"}) {
    chosen.push_back(std::ranges::find(forms(), name, &Form::name) - forms().begin());
  }
  return chosen;
}

INSTANTIATE_TEST_SUITE_P(Forms, InPasses, testing::ValuesIn(forms_in_passes()),
                         [](const auto& form) { return forms()[form.param].name; });

// Positions count from the prompt, although input_ids has padding before it.
TEST_F(Dump, InPassesWithoutThePaddingOfTheIds) {
  for (const bool wrong : {false, true}) {
    arrays_ = arrays_of(world().reference);
    if (wrong) spoil(arrays_);
    arrays_.at("input_ids") = padded(arrays_.at("input_ids"), 1, 5, 0, kPad);
    for (auto& [name, array] : arrays_) array.name = name;
    const CompareReport report = checked_in_passes(4);
    EXPECT_NE(report.passed, wrong) << failures(report);
    const auto logits =
        std::ranges::find(report.prompts.at(0).tensors, "logits", &TensorResult::name);
    EXPECT_EQ(logits->verdict, wrong ? Verdict::kFail : Verdict::kPass);
  }
}

// Each pass also has the tokens that it runs.
TEST_F(Dump, InPassesWithTheirTokens) {
  for (const std::int64_t wrong_at : {-1, 6}) {
    CheckerOptions options;
    options.reference = world().reference;
    Checker checker(options);
    for (std::int64_t first = 0; first < kPrompt; first += 4) {
      const std::int64_t count = std::min<std::int64_t>(4, kPrompt - first);
      checker.set_positions(first, count);
      Array ids =
          slice_positions(arrays_of(world().reference).at("input_ids").view(), 1, {first, count});
      ids.name = "input_ids";
      if (wrong_at >= first && wrong_at < first + count) {
        ids.as<std::int64_t>()[static_cast<std::size_t>(wrong_at - first)] += 1;
      }
      checker.check(ids.view());
    }
    const TensorResult& tokens = checker.report().prompts.at(0).tensors.at(0);
    EXPECT_EQ(tokens.verdict, wrong_at < 0 ? Verdict::kPass : Verdict::kFail) << tokens.reason;
  }
}

}  // namespace
}  // namespace assay
