// One dump in every form that engines write, through compare, the check in a running engine, and
// diagnose: if one accepts it all do, and all find what is wrong.
#include "diagnose/dump_in_forms.h"

namespace assay {
namespace {

TEST_P(OneWayIn, TheRightDumpPasses) {
  make(false);
  const CompareReport report = compared();
  EXPECT_TRUE(report.passed) << failures(report);
  EXPECT_NE(said(report.prompts[0]).find(form().said), std::string::npos)
      << said(report.prompts[0]);
  const CompareReport in_process = checked();
  EXPECT_TRUE(in_process.passed) << failures(in_process);
  EXPECT_NE(said(in_process.prompts[0]).find(form().said), std::string::npos)
      << said(in_process.prompts[0]);
  for (const bool with_reference : {true, false}) {
    if (!with_reference && !form().alone) continue;
    const Diagnosis d = diagnosed(with_reference);
    EXPECT_EQ(d.verdict, DiagnosisVerdict::kCorrect) << with_reference << d.summary << notes(d);
    if (!with_reference) continue;
    EXPECT_NE(notes(d).find(form().said), std::string::npos) << notes(d);
  }
}

TEST_P(OneWayIn, TheWrongOneFails) {
  make(true);
  const CompareReport report = compared();
  EXPECT_FALSE(report.passed);
  const CompareReport in_process = checked();
  EXPECT_FALSE(in_process.passed);
  for (const CompareReport* r : {&report, &in_process}) {
    const PromptResult& prompt = r->prompts.at(0);
    ASSERT_TRUE(prompt.first_divergence);
    EXPECT_EQ(prompt.tensors[*prompt.first_divergence].name, "layer_01_attn_context");
  }
  const Diagnosis d = diagnosed(true);
  EXPECT_NE(d.verdict, DiagnosisVerdict::kCorrect);
  ASSERT_TRUE(d.first) << d.summary << notes(d);
  EXPECT_EQ(d.first->tap, "layer_01_attn_context");
}

INSTANTIATE_TEST_SUITE_P(Forms, OneWayIn, testing::Range(std::size_t{0}, forms().size()),
                         [](const auto& form) { return forms()[form.param].name; });

TEST_F(Dump, AFusedArrayOfAnotherWidthIsIgnoredAndReported) {
  arrays_ = arrays_of(world().reference);
  arrays_["model.layers.1.self_attn.qkv_proj"] = arrays_.at("layer_01_q_proj");
  for (const std::string& tap : taps_of(1, {"q_proj", "k_proj", "v_proj"})) arrays_.erase(tap);
  write();
  constexpr std::string_view kSaid = "is not split: q_proj, k_proj, v_proj together have";
  const CompareReport report = compared();
  EXPECT_TRUE(report.passed);
  EXPECT_NE(said(report.prompts[0]).find(kSaid), std::string::npos) << said(report.prompts[0]);
  const Diagnosis d = diagnosed(true);
  EXPECT_NE(notes(d).find(kSaid), std::string::npos) << notes(d);
  CheckerOptions options;
  options.reference = world().reference;
  Checker checker(options);
  const TensorResult result = checker.check(arrays_.at("model.layers.1.self_attn.qkv_proj").view());
  EXPECT_EQ(result.verdict, Verdict::kNotCompared);
  EXPECT_NE(result.reason.find(kSaid), std::string::npos) << result.reason;
}

}  // namespace
}  // namespace assay
