// The check in a running engine when passes repeat and names compete.
#include <gtest/gtest.h>

#include "assay/check.h"
#include "base/expect_error.h"
#include "verify/candidate.h"

namespace assay {
namespace {

CheckerOptions of_reference() {
  CheckerOptions options;
  options.reference = reference();
  return options;
}

Array array_of(const std::string& name) {
  return NpzReader(reference() / "prompt1/reference.npz").read(name);
}

ArrayView named(const Array& array, const std::string& name) {
  ArrayView view = array.view();
  view.name = name;
  return view;
}

Array ids_array(std::vector<std::int64_t> ids) {
  Array array{"input_ids", DType::kI64, {1, std::ssize(ids)}, {}};
  array.bytes.resize(ids.size() * sizeof(std::int64_t));
  std::ranges::copy(ids, array.as<std::int64_t>().begin());
  return array;
}

TEST(Checker, ARivalIsComparedWithTheTapOnce) {
  Checker checker(of_reference());
  Array wrong = array_of("layer_05_output");
  for (float& x : wrong.as<float>()) x *= 3;
  const Array right = array_of("layer_05_output");
  checker.check(named(wrong, "model.layers.5"));
  for (int pass = 0; pass < 4; ++pass) {
    checker.check(named(right, "l_out-5"));
    checker.check(named(wrong, "model.layers.5"));
  }
  const PromptResult result = checker.report().prompts.at(0);
  const TensorResult& output = tensor(result, "layer_05_output");
  EXPECT_EQ(output.verdict, Verdict::kPass) << output.reason;
  EXPECT_EQ(output.candidate_name, "l_out-5");
  ASSERT_EQ(result.remarks.size(), 1u);
  EXPECT_NE(result.remarks[0].find("'l_out-5' is used"), std::string::npos) << result.remarks[0];
}

// A finding about the first array is not repeated for the second.
TEST(Checker, AFindingGoesWithItsArray) {
  Checker checker(of_reference());
  Array zeros = array_of("layer_05_output");
  std::ranges::fill(zeros.as<float>(), 0.0F);
  const Array output = array_of("layer_05_output");
  checker.check(named(zeros, "model.layers.5"));
  EXPECT_EQ(found(checker.report().prompts.at(0), "layer_05_output").find("all zeros"), 0u);
  checker.check(named(output, "l_out-5"));
  Array wrong = array_of("layer_06_output");
  for (float& x : wrong.as<float>()) x *= 3;
  checker.check(wrong.view());
  const PromptResult result = checker.report().prompts.at(0);
  EXPECT_EQ(tensor(result, "layer_05_output").verdict, Verdict::kPass);
  EXPECT_EQ(tensor(result, "layer_06_output").verdict, Verdict::kFail);
  EXPECT_EQ(found(result, "layer_05_output"), "");
}

TEST(Checker, RecordsTheTokensOfEveryPass) {
  const TemporaryDirectory directory;
  CheckerOptions options;
  options.record = directory / "record.npz";
  {
    Checker checker(options);
    const std::vector<std::vector<std::int64_t>> passes = {{5, 6, 7}, {8}, {9}};
    std::int64_t first = 0;
    for (const std::vector<std::int64_t>& ids : passes) {
      checker.set_positions(first, std::ssize(ids));
      checker.check(ids_array(ids).view());
      first += std::ssize(ids);
    }
    checker.write_record();
  }
  EXPECT_EQ(NpzReader(options.record).read("input_ids").shape, (Shape{1, 5}));
  // The whole run's, at each pass.
  {
    Checker checker(options);
    for (std::int64_t p = 0; p < 3; ++p) {
      checker.set_positions(p, 1);
      checker.check(ids_array({5, 6, 7}).view());
    }
    checker.write_record();
  }
  EXPECT_EQ(NpzReader(options.record).read("input_ids").shape, (Shape{1, 3}));
}

// Shapes without elements, at any axis, are not read as any tap.
TEST(Checker, ReadsNothingIntoAnEmptyArray) {
  constexpr std::int64_t kHuge = std::int64_t{1} << 62;
  for (const Shape& shape : {Shape{0}, Shape{1, 0, 64}, Shape{1, 5, 0}, Shape{kHuge, kHuge, 0},
                             Shape{0, kHuge, kHuge, kHuge}}) {
    for (const char* name : {"layer_05_output", "layer_05_attn_scores"}) {
      for (const bool in_passes : {false, true}) {
        Checker checker(of_reference());
        if (in_passes) checker.set_positions(0, 3);
        const Array empty{name, DType::kF32, shape, {}};
        EXPECT_EQ(checker.check(empty.view()).verdict, Verdict::kError) << shape_text(shape);
      }
    }
  }
}

}  // namespace
}  // namespace assay
