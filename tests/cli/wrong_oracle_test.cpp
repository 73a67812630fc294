// Oracles that do not belong to the reference: nothing is judged by them, and no candidate fails.
#include <cmath>
#include <functional>

#include "assay/npz.h"
#include "cli/program.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

class WrongOracle : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(run_program({"extract", "--numerics", "bf16,f64", "--prompt", "one two", "--out",
                           reference(), "--max-new-tokens", "1"})
                  .exit_code,
              0);
  }
  std::string reference() const { return scratch_ / "ref"; }
  fs::path oracle() const { return fs::path(reference()) / "prompt1/oracle.npz"; }

  // keep: changes an array, and returns whether it stays.
  void rewrite(const fs::path& from, const fs::path& to,
               const std::function<bool(Array&)>& keep) const {
    std::vector<Array> arrays;
    {
      const NpzReader npz(from);
      for (const std::string& name : npz.names()) {
        Array array = npz.read(name);
        if (keep(array)) arrays.push_back(std::move(array));
      }
    }
    std::vector<ArrayView> views;
    for (const Array& array : arrays) views.push_back(array.view());
    write_npz(to, views);
  }

  // The right arrays, and arrays that pass only with a wrong oracle.
  void expect_input_error(const std::vector<std::string>& parts) const {
    const std::string wrong = scratch_ / "wrong.npz";
    rewrite(fs::path(reference()) / "prompt1/reference.npz", wrong, [](Array& array) {
      if (array.dtype != DType::kF32) return true;
      for (float& value : array.as<float>()) value *= -3;
      return true;
    });
    expect_failure(run_program({"compare", reference(), reference()}), 3, parts);
    expect_failure(run_program({"compare", reference(), wrong}), 3, parts);
  }

  TemporaryDirectory scratch_;
};

TEST_F(WrongOracle, OfValuesThatAreNotFinite) {
  rewrite(oracle(), oracle(), [](Array& array) {
    if (array.name == "layer_05_output") array.as<float>()[7] = std::nanf("");
    return true;
  });
  expect_input_error({"oracle.npz: array 'layer_05_output'", "1 values", "NaN"});
}

TEST_F(WrongOracle, WithAnotherErrorThanInTheManifest) {
  rewrite(oracle(), oracle(), [](Array& array) {
    if (array.name != "logits") return true;
    for (float& value : array.as<float>()) value *= 1.5F;
    return true;
  });
  expect_input_error({"oracle.npz: array 'logits'", "relative L2", "the manifest"});
}

TEST_F(WrongOracle, ThatLacksATap) {
  rewrite(oracle(), oracle(), [](const Array& array) { return array.name != "layer_03_output"; });
  expect_input_error({"oracle.npz", "no array 'layer_03_output'"});
}

TEST_F(WrongOracle, OfAnotherPrompt) {
  rewrite(oracle(), oracle(), [](Array& array) {
    if (array.name == "input_ids") ++array.as<std::int64_t>()[0];
    return true;
  });
  expect_input_error({"oracle.npz: array 'input_ids'", "another prompt"});
}

// Otherwise it would be taken for the new run's.
TEST_F(WrongOracle, OfAnEarlierRunIsRemoved) {
  ASSERT_TRUE(fs::exists(oracle()));
  ASSERT_EQ(run_program({"extract", "--prompt", "other text", "--out", reference(),
                         "--max-new-tokens", "1"})
                .exit_code,
            0);
  EXPECT_FALSE(fs::exists(oracle()));
}

TEST_F(WrongOracle, UnpairedPromptsAndFilesAreReported) {
  ASSERT_EQ(run_program({"extract", "--prompt", "one", "--prompt", "two", "--out", scratch_ / "two",
                         "--max-new-tokens", "1"})
                .exit_code,
            0);
  fs::create_directories(scratch_ / "dump");
  fs::copy_file(scratch_ / "two/prompt1/reference.npz", scratch_ / "dump/prompt1.npz");
  fs::copy_file(scratch_ / "two/prompt2/reference.npz", scratch_ / "dump/promt2.npz");
  const std::string junit = scratch_ / "report.xml";
  const Result text =
      run_program({"compare", scratch_ / "two", scratch_ / "dump", "--junit", junit});
  EXPECT_EQ(text.exit_code, 0);
  EXPECT_NE(text.out.find("not in the candidate: prompt2"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("not read: promt2.npz"), std::string::npos) << text.out;
  EXPECT_NE(read_text(junit).find("<testsuite name=\"prompt2\""), std::string::npos);
  const Result json = run_program({"compare", "--json", scratch_ / "two", scratch_ / "dump"});
  EXPECT_NE(json.out.find("\"missing_prompts\": ["), std::string::npos) << json.out;
}

}  // namespace
}  // namespace assay
