// Candidates against a captured reference: names of modules, and its own data flow.
#include "verify/captured.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "assay/check.h"
#include "assay/compare.h"
#include "base/expect_error.h"
#include "candidate/positions.h"
#include "numerics/numerics.h"

namespace assay {
namespace {

PromptResult compared(const CapturedReference& own, const std::vector<Array>& arrays) {
  CompareOptions options;
  options.reference = own.written();
  options.candidate = own.dumped(arrays);
  return compare(options).prompts.at(0);
}

std::string first_of(const PromptResult& result) {
  return result.first_divergence ? result.tensors[*result.first_divergence].name : "";
}

const TensorResult& tensor_of(const PromptResult& result, std::string_view name) {
  return *std::ranges::find(result.tensors, name, &TensorResult::name);
}

TEST(Captured, ACorrectEnginePasses) {
  const CapturedReference own;
  const PromptResult result = compared(own, own.candidate());
  EXPECT_TRUE(result.passed) << first_of(result);
  EXPECT_EQ(result.tensors.size(), 9u);
  EXPECT_TRUE(result.unmatched.empty());
  for (const TensorResult& tensor : result.tensors) {
    EXPECT_EQ(tensor.verdict, Verdict::kPass) << tensor.name;
    if (tensor.name == "input_ids") continue;
    // Below 1 where the noise is taken to be that of what it is computed from.
    EXPECT_GT(*tensor.noise_ratio, 0.3) << tensor.name;
    EXPECT_LT(*tensor.noise_ratio, 1.01) << tensor.name;
  }
  EXPECT_EQ(tensor_of(result, "h.1.b").block, "h.1");
  EXPECT_EQ(tensor_of(result, "h.1.b").module, "h.1.b (Own)");
}

TEST(Captured, TheFirstDivergenceFollowsTheReferencesOwnFlow) {
  const CapturedReference own;
  std::vector<Array> arrays = own.candidate();
  CapturedReference::spoil(arrays, "h.1.a");
  CapturedReference::spoil(arrays, "h.1.b");
  const PromptResult result = compared(own, arrays);
  EXPECT_FALSE(result.passed);
  EXPECT_EQ(first_of(result), "h.1.a");
  EXPECT_EQ(result.divergence_text, "h.0.b passes: look at h.1.a (Own)");
}

TEST(Captured, WhatWasNotDumpedIsAGap) {
  const CapturedReference own;
  std::vector<Array> arrays = own.candidate();
  CapturedReference::spoil(arrays, "h.1.b");
  std::erase_if(arrays, [](const Array& a) { return a.name.starts_with("h.1.a"); });
  EXPECT_EQ(compared(own, arrays).divergence_text,
            "h.0.b passes: the fault lies between there and h.1.b (Own)");
  std::erase_if(arrays, [](const Array& a) { return a.name != "h.1.b"; });
  EXPECT_EQ(compared(own, arrays).divergence_text,
            "nothing before it was compared: the fault lies in h.1.b (Own) or before");
}

TEST(Captured, AnArrayHasTheNamesOfAllModulesThatReturnIt) {
  const CapturedReference own;
  for (const char* name :
       {"h.0.a.inner", "module.h.0.a", "h.0.a.output.0", "h/0/a", "model.h.0.a"}) {
    std::vector<Array> arrays = own.candidate();
    CapturedReference::named(arrays, "h.0.a").name = name;
    const PromptResult result = compared(own, arrays);
    EXPECT_EQ(tensor_of(result, "h.0.a").candidate_name, name);
    EXPECT_TRUE(result.passed) << name;
  }
}

TEST(Captured, ACallHasItsNumberInEitherSpelling) {
  const CapturedReference own;
  for (const char* name : {"h.1.a#2", "h.1.a.call1", "h.1.a.call1.output"}) {
    std::vector<Array> arrays = own.candidate();
    CapturedReference::named(arrays, "h.1.a#2").name = name;
    EXPECT_EQ(tensor_of(compared(own, arrays), "h.1.a#2").candidate_name, name);
  }
}

TEST(Captured, NearlyEqualScoresMayChooseOtherwise) {
  CapturedReference own;
  own.manifest["arrays"]["h.0.a"]["unsteady"] = OrderedJson::array({3});
  std::vector<Array> arrays = own.candidate();
  CapturedReference::spoil(arrays, "h.0.a", 3);
  CapturedReference::spoil(arrays, "h.0.b", 3);
  CapturedReference::spoil(arrays, "h.1.b", 4);  // which attends to position 3
  CapturedReference::spoil(arrays, "pool");
  const PromptResult chosen = compared(own, arrays);
  EXPECT_TRUE(chosen.passed) << first_of(chosen);
  EXPECT_NE(tensor_of(chosen, "h.0.a").reading.find("positions 3 left out"), std::string::npos);
  EXPECT_NE(tensor_of(chosen, "h.0.b").reading.find("positions 3 left out"), std::string::npos);
  EXPECT_NE(tensor_of(chosen, "h.1.b").reading.find("positions from 3 on"), std::string::npos);
  EXPECT_EQ(tensor_of(chosen, "pool").verdict, Verdict::kNotCompared);

  // Until positions are mixed, later ones are judged too.
  CapturedReference::spoil(arrays, "h.0.b", 5);
  EXPECT_EQ(first_of(compared(own, arrays)), "h.0.b");
  arrays = own.candidate();
  CapturedReference::spoil(arrays, "h.0.a", 3);

  // An error at another position is the engine's own.
  CapturedReference::spoil(arrays, "h.1.a", 2);
  EXPECT_EQ(first_of(compared(own, arrays)), "h.1.a");

  // Where nothing was chosen otherwise, later errors are not explained.
  std::vector<Array> others = own.candidate();
  CapturedReference::spoil(others, "h.1.b", 4);
  EXPECT_EQ(first_of(compared(own, others)), "h.1.b");
}

TEST(Captured, AChoiceThatNobodySawReachesWhatIsMixed) {
  CapturedReference own;
  own.manifest["arrays"]["h.0.a"]["unsteady"] = OrderedJson::array({3});
  std::vector<Array> arrays = own.candidate();
  CapturedReference::spoil(arrays, "h.1.a", 5);
  std::erase_if(arrays, [](const Array& a) { return a.name.starts_with("h.0"); });
  EXPECT_TRUE(compared(own, arrays).passed);
  CapturedReference::spoil(arrays, "h.1.a", 2);
  EXPECT_EQ(first_of(compared(own, arrays)), "h.1.a");
}

TEST(Captured, WithoutCausalityNoPositionIsSafe) {
  CapturedReference own;
  own.manifest["arrays"]["h.0.a"]["unsteady"] = OrderedJson::array({3});
  std::vector<Array> arrays = own.candidate();
  CapturedReference::spoil(arrays, "h.0.a", 3);
  CapturedReference::spoil(arrays, "h.0.b", 3);
  CapturedReference::spoil(arrays, "h.1.a", 1);
  EXPECT_EQ(first_of(compared(own, arrays)), "h.1.a");
  own.manifest["arrays"]["h.1.a"].erase("reach");  // it attends in both directions
  const PromptResult result = compared(own, arrays);
  EXPECT_TRUE(result.passed) << first_of(result);
  EXPECT_EQ(tensor_of(result, "h.1.a").verdict, Verdict::kNotCompared);
}

TEST(Captured, AnExpertsRowsAreAsManyAsTheTokensItGot) {
  constexpr std::int64_t kGot = CapturedReference::kRows - 1;
  CapturedReference own;
  std::vector<Array> arrays = own.candidate();
  Array& rows = CapturedReference::named(arrays, "expert");
  rows.shape = {kGot, CapturedReference::kWidth};
  rows.bytes.resize(kGot * CapturedReference::kWidth * sizeof(float));
  EXPECT_EQ(tensor_of(compared(own, arrays), "expert").verdict, Verdict::kError);
  own.manifest["arrays"]["expert"]["unsteady"] = OrderedJson::array({3});
  const PromptResult result = compared(own, arrays);
  EXPECT_TRUE(result.passed) << first_of(result);
  EXPECT_EQ(tensor_of(result, "expert").verdict, Verdict::kNotCompared);
  // Another width is the engine's own mistake.
  rows.shape = {kGot * 2, CapturedReference::kWidth / 2};
  EXPECT_EQ(tensor_of(compared(own, arrays), "expert").verdict, Verdict::kError);
}

TEST(Captured, OnlyATablesRowsTellNothingOfTheEnginesPrecision) {
  const auto type_of_last = [](bool lookup) {
    CapturedReference own;
    own.manifest["arrays"]["h.0.a"]["from"] = OrderedJson::array({"input_ids"});
    if (lookup) own.manifest["arrays"]["h.0.a"]["lookup"] = true;
    std::vector<Array> arrays = own.candidate();
    for (float& x : CapturedReference::named(arrays, "h.0.a").as<float>()) x = round_to_bf16(x);
    return tensor_of(compared(own, arrays), "h.1.b").type;
  };
  EXPECT_EQ(type_of_last(true), Grid::kF32);
  EXPECT_EQ(type_of_last(false), Grid::kBf16);
}

TEST(Captured, AFewValuesMayBeRightByChance) {
  const CapturedReference own;
  std::vector<Array> arrays = own.candidate();
  for (float& x : CapturedReference::named(arrays, "pool").as<float>()) x *= 1.01F;
  EXPECT_TRUE(compared(own, arrays).passed);
  CapturedReference::spoil(arrays, "pool");
  EXPECT_EQ(first_of(compared(own, arrays)), "pool");
}

TEST(Captured, ARunningEngineIsCheckedByModules) {
  const CapturedReference own;
  CheckerOptions options;
  options.reference = own.written();
  Checker checker(options);
  std::vector<Array> arrays = own.candidate();
  CapturedReference::spoil(arrays, "h.1.a");
  // In two passes: four positions, then two.
  for (const Positions pass : {Positions{0, 4}, Positions{4, 2}}) {
    checker.set_positions(pass.first, pass.count);
    for (const Array& array : arrays) {
      if (array.name == "pool" || array.name == "expert") continue;
      const Array part = slice_positions(array.view(), 1, pass);
      ASSERT_TRUE(checker.wants(array.name)) << array.name;
      checker.check({array.name, part.dtype, part.shape, part.bytes, false});
    }
  }
  const PromptResult result = checker.report().prompts.at(0);
  EXPECT_EQ(first_of(result), "h.1.a");
  EXPECT_EQ(tensor_of(result, "h.0.b").verdict, Verdict::kPass);
  EXPECT_FALSE(checker.wants("lm_head.weight"));
}

TEST(Captured, ADamagedManifestIsAnError) {
  const auto bad = [](const auto& change, const char* what) {
    CapturedReference own;
    change(own.manifest);
    expect_error(ErrorKind::kInput, {what}, [&] { compared(own, own.candidate()); });
  };
  bad([](OrderedJson& m) { m["arrays"]["h.0.a"]["from"] = OrderedJson::array({"h.0.a"}); },
      "names of arrays before it");
  bad([](OrderedJson& m) { m["arrays"]["h.0.a"]["from"] = OrderedJson::array({"h.1.b"}); },
      "names of arrays before it");
  bad([](OrderedJson& m) { m["arrays"]["h.0.a"]["from"] = OrderedJson::array({"nothing"}); },
      "nothing");
  bad([](OrderedJson& m) { m["arrays"]["h.0.a"]["from"] = OrderedJson::array({3}); }, "from");
  bad([](OrderedJson& m) { m["arrays"]["h.0.a"]["from"] = "embed"; }, "from");
  bad([](OrderedJson& m) { m["arrays"]["h.0.a"].erase("module"); }, "module");
  bad([](OrderedJson& m) { m["arrays"]["h.0.a"]["class"] = 1; }, "class");
  bad([](OrderedJson& m) { m["arrays"]["h.0.a"]["also"] = OrderedJson::array({1}); }, "also");
  bad([](OrderedJson& m) { m["arrays"]["h.0.a"]["positions"] = 3; }, "0 to 2");
  bad([](OrderedJson& m) { m["arrays"]["h.0.a"]["positions"] = -1; }, "0 to 2");
  bad([](OrderedJson& m) { m["arrays"]["h.0.a"]["shape"] = OrderedJson::array(); }, "shape");
  bad(
      [](OrderedJson& m) {
        m["arrays"]["h.0.a"].erase("positions");
        m["arrays"]["h.0.a"]["shape"] = OrderedJson::array({1, 1, 1, 1, 1, 1, 1});
      },
      "axes or more");
  bad([](OrderedJson& m) { m["arrays"]["h.0.a"]["unsteady"] = OrderedJson::array({1'000'000}); },
      "unsteady");
  bad([](OrderedJson& m) { m["arrays"]["h.0.a"]["unsteady"] = OrderedJson::array({-1}); },
      "unsteady");
  bad([](OrderedJson& m) { m["arrays"]["h.0.a"]["reach"] = "far"; }, "position or causal");
  bad([](OrderedJson& m) { m["arrays"]["h.0.a"]["reach"] = 1; }, "reach");
  bad([](OrderedJson& m) { m["arrays"]["h.0.a"]["lookup"] = "no"; }, "true or false");
  bad([](OrderedJson& m) { m["arrays"]["more"] = m["arrays"]["h.0.a"]; }, "no array 'more'");
  bad([](OrderedJson& m) { m["arrays"] = 1; }, "arrays");
  bad([](OrderedJson& m) { m["arrays"]["h.0.a"] = nullptr; }, "an object");
  bad([](OrderedJson& m) { m["data_flow"] = "other"; }, "data_flow");
}

// A flow in which every array reads all before it is walked once, not along every path.
TEST(Captured, AHugeFlowTakesNoTime) {
  CapturedReference own;
  OrderedJson& arrays = own.manifest["arrays"];
  const OrderedJson last = arrays["h.1.b"];
  std::vector<Array> candidate = own.candidate();
  CapturedReference::spoil(candidate, "h.1.b");
  std::vector<std::string> names;
  for (const auto& [name, _] : arrays.items()) names.push_back(name);
  arrays["h.1.b"]["also"] = OrderedJson::array();
  for (int i = 0; i < 100'000; ++i) arrays["h.1.b"]["also"].push_back(fmt::format("alias.{}", i));
  arrays["h.1.b"]["from"] = OrderedJson::array();
  for (int i = 0; i < 100'000; ++i) arrays["h.1.b"]["from"].push_back("h.0.a");
  const PromptResult result = compared(own, candidate);
  EXPECT_EQ(first_of(result), "h.1.b");
  EXPECT_EQ(result.divergence_text, "h.0.a passes: look at h.1.b (Own)");
}

}  // namespace
}  // namespace assay
