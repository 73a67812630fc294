// assay compare as a person or a CI job uses it.
#include <functional>
#include <nlohmann/json.hpp>

#include "assay/npz.h"
#include "cli/program.h"

namespace assay {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

class CompareCommand : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = new TemporaryDirectory;
    const Result made =
        run_program({"extract", "--numerics", "bf16,f64", "--taps", "layer_05_*", "--prompt",
                     "The capital of France is", "--out", *directory_ / "ref"});
    ASSERT_EQ(made.exit_code, 0) << made.err;
    // The candidate: layer 5's q_norm and everything after it are wrong.
    const NpzReader npz(*directory_ / "ref/prompt1/reference.npz");
    std::vector<Array> arrays;
    for (const std::string& name : npz.names()) {
      arrays.push_back(npz.read(name));
      if (name != "layer_05_q_norm" && name != "layer_05_q_rope" && name != "layer_05_output")
        continue;
      for (float& x : arrays.back().as<float>()) x *= 1.5F;
    }
    std::vector<ArrayView> views;
    for (const Array& array : arrays) views.push_back(array.view());
    write_npz(*directory_ / "wrong.npz", views);
  }
  static void TearDownTestSuite() { delete directory_; }
  static std::string ref() { return *directory_ / "ref"; }
  static std::string right() { return *directory_ / "ref/prompt1/reference.npz"; }
  static std::string wrong() { return *directory_ / "wrong.npz"; }
  static TemporaryDirectory* directory_;
};
TemporaryDirectory* CompareCommand::directory_ = nullptr;

TEST_F(CompareCommand, PassesAndFailsByExitCode) {
  const Result good = run_program({"compare", ref(), right()});
  EXPECT_EQ(good.exit_code, 0) << good.err;
  EXPECT_NE(good.out.find("PASS: profile noise"), std::string::npos) << good.out;
  EXPECT_NE(good.out.find("layer 27"), std::string::npos);
  EXPECT_EQ(good.out.find('\x1b'), std::string::npos) << "colours in a file";

  const Result bad = run_program({"compare", ref(), wrong()});
  EXPECT_EQ(bad.exit_code, 1);
  EXPECT_NE(bad.out.find("\n> layer 05 "), std::string::npos) << bad.out;
  EXPECT_NE(bad.out.find("First divergence: layer_05_q_norm: noise ratio"), std::string::npos);
  EXPECT_NE(bad.out.find("look at the RMSNorm of the queries"), std::string::npos);
  EXPECT_NE(bad.out.find(" arrays fail profile noise, which requires that "), std::string::npos);
  const Result all = run_program({"compare", "--all", ref(), wrong()});
  EXPECT_NE(all.out.find("\n  layer_05_k_norm"), std::string::npos);
}

// Writes the reference's arrays, as `change` leaves them; it returns false for those to be left
// out.
std::string changed(const TemporaryDirectory& directory, const std::string& npz_file,
                    const std::function<bool(Array&)>& change) {
  const NpzReader npz(npz_file);
  std::vector<Array> arrays;
  for (const std::string& name : npz.names()) {
    arrays.push_back(npz.read(name));
    if (!change(arrays.back())) arrays.pop_back();
  }
  std::vector<ArrayView> views;
  for (const Array& array : arrays) views.push_back(array.view());
  const std::string path = directory / "changed.npz";
  write_npz(path, views);
  return path;
}

TEST_F(CompareCommand, SaysWhatIsMissingBeforeTheFirstDivergence) {
  const TemporaryDirectory directory;
  const std::string dump = changed(directory, right(), [](Array& array) {
    if (array.name == "layer_05_output") {
      for (float& x : array.as<float>()) x += 1;
    }
    return array.name == "layer_04_output" || array.name == "layer_05_output";
  });
  const std::string out = run_program({"compare", ref(), dump}).out;
  EXPECT_NE(out.find("the reference's other"), std::string::npos) << out;
  EXPECT_EQ(out.find("extract with --taps"), std::string::npos) << out;
}

TEST_F(CompareCommand, SuggestsTheTapThatAMisspeltNameMeans) {
  const TemporaryDirectory directory;
  const std::string dump = changed(directory, right(), [](Array& array) {
    if (array.name == "layer_05_attn_scores") array.name = "layer_05_atn_scores";
    return true;
  });
  const std::string out = run_program({"compare", ref(), dump}).out;
  EXPECT_NE(out.find("mean 'attn_scores'?"), std::string::npos) << out;
}

TEST_F(CompareCommand, WarnsWhenTheReferenceComesLast) {
  const Result result = run_program({"compare", wrong(), ref()});
  EXPECT_NE(result.err.find("the reference comes first"), std::string::npos) << result.err;
  EXPECT_EQ(run_program({"compare", ref(), ref()}).err.find("comes first"), std::string::npos);
}

// The reference's arrays with a different text.
fs::path with_text(const TemporaryDirectory& directory, const std::string& npz_file,
                   const std::vector<std::int64_t>& first_ids) {
  const NpzReader npz(npz_file);
  std::vector<Array> arrays;
  for (const std::string& name : npz.names()) arrays.push_back(npz.read(name));
  std::vector<ArrayView> views;
  for (Array& array : arrays) {
    if (array.name == "generated_ids") {
      std::ranges::copy(first_ids, array.as<std::int64_t>().begin());
    }
    views.push_back(array.view());
  }
  write_npz(directory / "text.npz", views);
  return directory / "text.npz";
}

TEST_F(CompareCommand, SaysInTheLastLineThatOnlyTheTextIsWrong) {
  const std::vector<std::int64_t> own = [] {
    const NpzReader npz(right());
    const Array ids = npz.read("generated_ids");
    const auto values = ids.as<std::int64_t>();
    return std::vector(values.begin(), values.begin() + 9);
  }();
  std::vector<std::int64_t> other = own;
  other[8] = own[8] + 1;
  const std::string wrong_text = with_text(*directory_, right(), other);
  const Result result = run_program({"compare", ref(), wrong_text});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.out.find("\nFAIL: the text of prompt1 differs at position 8; no array fails\n"),
            std::string::npos)
      << result.out;
  const Json report = Json::parse(run_program({"compare", "--json", ref(), wrong_text}).out);
  EXPECT_EQ(report["cause"], "the text of prompt1 differs at position 8; no array fails");
  EXPECT_EQ(report["prompts"][0]["tokens"]["verdict"], "fail");
  const fs::path junit = *directory_ / "text.xml";
  EXPECT_EQ(run_program({"compare", ref(), wrong_text, "--junit", junit}).exit_code, 1);
  EXPECT_NE(read_text(junit).find("differs at position 8"), std::string::npos);
  EXPECT_EQ(report["prompts"][0]["first_divergence"], nullptr);

  other = own;
  other[0] += 1;
  const std::string strange = with_text(*directory_, right(), other);
  const Result error = run_program({"compare", ref(), strange});
  EXPECT_EQ(error.exit_code, 1) << error.err;
  EXPECT_NE(error.out.find("\nFAIL: the text of prompt1 cannot be compared; no array fails\n"),
            std::string::npos)
      << error.out;
}

TEST_F(CompareCommand, DraftsAMapThatMakesTheDumpPass) {
  const NpzReader npz(right());
  std::vector<Array> arrays;
  for (const std::string& name : npz.names()) {
    if (name.starts_with("rope_") || name == "generated_ids") continue;
    arrays.push_back(npz.read(name));
    arrays.back().name = "my " + name;
  }
  arrays.push_back(npz.read("layer_00_output"));
  arrays.back().name = "another.name.of.the.output.of.the.first.layer.which.is.long";
  std::vector<ArrayView> views;
  for (const Array& array : arrays) views.push_back(array.view());
  const std::string dump = *directory_ / "foreign.npz";
  write_npz(dump, views);
  expect_failure(run_program({"compare", ref(), dump}), 3, {"--suggest-map"});
  const std::string map = *directory_ / "map.json";
  const Result draft = run_program({"compare", ref(), dump, "--suggest-map", map});
  EXPECT_EQ(draft.exit_code, 0) << draft.err;
  EXPECT_NE(draft.out.find("  my layer_{layer}_output  (28 arrays, relative L2 0)\n"
                           "    layer_{layer}_output\n"),
            std::string::npos)
      << draft.out;
  EXPECT_NE(draft.out.find("of.the.first.layer.which.is.long\n    (1 array, relative L2 0)\n"
                           "    layer_0_output\n"),
            std::string::npos)
      << draft.out;
  const Result good = run_program({"compare", ref(), dump, "--map", map});
  EXPECT_EQ(good.exit_code, 0) << good.err;
  EXPECT_EQ(good.out.find("match no rule"), std::string::npos) << good.out;
  EXPECT_EQ(good.out.find("matches no rule"), std::string::npos) << good.out;
  // A user may have edited it.
  expect_failure(run_program({"compare", ref(), dump, "--suggest-map", map}), 2,
                 {"--suggest-map", "map.json exists already"});
}

TEST_F(CompareCommand, SaysThatNanHasNoDivergence) {
  const NpzReader npz(right());
  Array logits = npz.read("logits");
  logits.as<float>()[5] = std::numeric_limits<float>::quiet_NaN();
  const std::string dump = *directory_ / "nan.npz";
  write_npz(dump, std::vector<ArrayView>{logits.view()});
  const Result result = run_program({"compare", ref(), dump});
  EXPECT_EQ(result.exit_code, 1) << result.err;
  EXPECT_NE(result.out.find("KL divergence undefined (NaN)"), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("\n1 array compared; "), std::string::npos) << result.out;
  EXPECT_EQ(result.out.find("nan\n"), std::string::npos) << result.out;
}

TEST_F(CompareCommand, PrintsJson) {
  const Result result = run_program({"compare", "--json", ref(), wrong()});
  EXPECT_EQ(result.exit_code, 1);
  const Json report = Json::parse(result.out);
  EXPECT_EQ(report["schema"], "assay.compare/1");
  EXPECT_EQ(report["passed"], false);
  EXPECT_EQ(report["prompts"][0]["first_divergence"]["tensor"], "layer_05_q_norm");
  std::size_t failed = 0;
  for (const Json& tensor : report["prompts"][0]["tensors"]) {
    failed += tensor["verdict"] == "fail";
    EXPECT_EQ(tensor.contains("reason"), tensor["verdict"] != "pass") << tensor["name"];
  }
  // The layer's output is not suspicious, because the next layer's is right.
  EXPECT_EQ(failed, 2u);
}

TEST_F(CompareCommand, WritesJUnit) {
  const fs::path file = *directory_ / "junit.xml";
  EXPECT_EQ(run_program({"compare", ref(), wrong(), "--junit", file}).exit_code, 1);
  const std::string xml = read_text(file);
  EXPECT_NE(xml.find("<testsuite name=\"prompt1\" tests=\"53\" failures=\"1\" errors=\"0\" "
                     "skipped=\"2\""),
            std::string::npos)
      << xml.substr(0, 300);
  EXPECT_NE(xml.find("name=\"layer_05_q_norm\"><failure message=\"first divergence: "
                     "layer_05_q_norm: noise ratio"),
            std::string::npos);
  EXPECT_NE(xml.find("look at the RMSNorm of the queries"), std::string::npos);
  EXPECT_NE(xml.find("name=\"layer_05_output\"><skipped message=\"follows from layer_05_q_norm: "),
            std::string::npos);
  expect_failure(run_program({"compare", ref(), right(), "--junit", "/nowhere/x.xml"}), 4,
                 {"/nowhere/x.xml"});
}

TEST_F(CompareCommand, SaysWhatIsCoarse) {
  const fs::path model = *directory_ / "epsilon_model";
  fs::copy(ASSAY_ROOT "/models/tiny-qwen3", model);
  Json config = Json::parse(read_text(model / "config.json"));
  config["rms_norm_eps"] = 1e-5;
  write_text(model / "config.json", config.dump());
  ASSERT_EQ(run_program({"extract", "--model", model, "--numerics", "f32", "--taps", "layer_05_*",
                         "--prompt", "The capital of France is", "--out", *directory_ / "f32"})
                .exit_code,
            0);
  const std::string dump = *directory_ / "f32/prompt1/reference.npz";
  const fs::path junit = *directory_ / "coarse.xml";
  const fs::path html = *directory_ / "coarse.html";
  const Result result = run_program({"compare", ref(), dump, "--junit", junit, "--html", html});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_NE(result.out.find("\nCoarse: "), std::string::npos) << result.out;
  EXPECT_NE(result.out.find("COARSE: passes profile noise"), std::string::npos) << result.out;
  EXPECT_EQ(result.out.find("First divergence"), std::string::npos);
  const std::string xml = read_text(junit);
  EXPECT_NE(xml.find("failures=\"0\""), std::string::npos);
  EXPECT_NE(
      xml.find("name=\"layer_05_output\"><properties><property name=\"coarse\" value=\"within "
               "BF16's noise"),
      std::string::npos)
      << xml.substr(0, 2000);
  EXPECT_NE(read_text(html).find("\"coarse\":true"), std::string::npos);
  EXPECT_EQ(run_program({"compare", ref(), dump, "--strict"}).exit_code, 1);
  EXPECT_EQ(run_program({"compare", ref(), dump, "--strict", "--as", "bf16"}).exit_code, 0);
  EXPECT_EQ(run_program({"compare", ref(), right(), "--strict"}).exit_code, 0);
  const Json report = Json::parse(run_program({"compare", "--json", ref(), dump}).out);
  EXPECT_EQ(report["passed"], true);
  EXPECT_EQ(report["coarse"], true);
  const Json& last = report["prompts"][0]["tensors"].back();
  EXPECT_FALSE(last.contains("held_to")) << "RoPE tables have no noise";
  expect_failure(run_program({"compare", ref(), dump, "--as", "q8"}), 2, {"--as", "--model"});
}

TEST_F(CompareCommand, TellsBadInputFromAFailedCheck) {
  expect_failure(run_program({"compare", ref(), "/nowhere.npz"}), 3,
                 {"/nowhere.npz", "no such file"});
  expect_failure(run_program({"compare", "/nowhere", right()}), 3, {"/nowhere"});
  expect_failure(run_program({"compare", ref(), right(), "--map", "nobody"}), 2,
                 {"--map", "'nobody'"});
  expect_failure(run_program({"compare", ref(), right(), "--profile", "strict"}), 2, {"'strict'"});
  expect_failure(
      run_program({"compare", ref(), right(), "--profile", "table", "--tolerance", "0.1"}), 2,
      {"--tolerance"});
  expect_failure(run_program({"compare", ref()}), 2, {"CANDIDATE"});
  // Truncated.
  const fs::path cut = *directory_ / "cut.npz";
  const std::string bytes = read_text(right());
  write_text(cut, bytes.substr(0, bytes.size() / 2));
  expect_failure(run_program({"compare", ref(), cut}), 3, {"cut.npz"});
}

}  // namespace
}  // namespace assay
