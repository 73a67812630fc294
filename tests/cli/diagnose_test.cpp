// assay diagnose as a user runs it; the search itself is tested in tests/diagnose and tests/hf.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "assay/npz.h"
#include "cli/program.h"

namespace assay {
namespace {

const std::string kReference = [] {
  static const TemporaryDirectory directory;
  const std::string out = directory / "ref";
  run_program({"extract", "--out", out, "--taps", "*", "--numerics", "bf16,f64", "--prompt",
               "The capital of France is"});
  return out;
}();

// The reference's arrays with the queries of layer 3 scaled.
std::string faulty(const TemporaryDirectory& directory) {
  const NpzReader reference(kReference + "/prompt1/reference.npz");
  std::vector<Array> arrays;
  for (const std::string& name : reference.names()) arrays.push_back(reference.read(name));
  std::vector<ArrayView> views;
  for (Array& array : arrays) {
    if (array.name == "layer_03_q_proj") {
      for (float& x : array.as<float>()) x *= 2;
    }
    views.push_back(array.view());
  }
  const std::string path = directory / "candidate.npz";
  write_npz(path, views);
  return path;
}

TEST(Diagnose, ListsItsCatalog) {
  const Result table = run_program({"diagnose", "--list"});
  EXPECT_EQ(table.exit_code, 0);
  EXPECT_NE(table.out.find("rope-interleaved"), std::string::npos);
  const auto json =
      nlohmann::json::parse(run_program({"diagnose", "--list", "--json"}).out).at("mistakes");
  EXPECT_GE(json.size(), 45u);
  EXPECT_TRUE(json[0].contains("look_at"));
}

TEST(Diagnose, HasEveryEntryInItsDocumentation) {
  const std::string page = read_text(ASSAY_ROOT "/docs/diagnose.md");
  const auto list = nlohmann::json::parse(run_program({"diagnose", "--list", "--json"}).out);
  for (const auto& m : list.at("mistakes")) {
    const std::string row = "| `" + m["id"].get<std::string>() + "` | **" +
                            m["name"].get<std::string>() + "**. " +
                            m["explanation"].get<std::string>();
    EXPECT_NE(page.find(row), std::string::npos) << row;
  }
}

TEST(Diagnose, CallsARightCandidateRight) {
  const Result result = run_program({"diagnose", "--candidate", kReference});
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_NE(result.out.find("CORRECT"), std::string::npos) << result.out;
}

// As compare does. How many tokens the engine was to write is not known.
TEST(Diagnose, CallsARightTextRightThatIsShorter) {
  const TemporaryDirectory directory;
  const NpzReader reference(kReference + "/prompt1/reference.npz");
  const Array ids = reference.read("input_ids");
  Array text = reference.read("generated_ids");
  constexpr std::int64_t kMissing = 4;
  text.shape.back() -= kMissing;
  text.bytes.resize(text.bytes.size() - kMissing * dtype_size(text.dtype));
  const std::string path = directory / "candidate.npz";
  write_npz(path, std::vector{ids.view(), text.view()});
  const Result result = run_program({"diagnose", "--candidate", path, "--reference", kReference});
  EXPECT_EQ(result.exit_code, 0) << result.out << result.err;
  EXPECT_NE(result.out.find("as far as it goes, 16 of 20 tokens"), std::string::npos) << result.out;
}

TEST(Diagnose, TakesPathsAsCompareDoes) {
  const TemporaryDirectory directory;
  const std::string dump = faulty(directory);
  const auto verdict = [](std::vector<std::string> words) {
    words.insert(words.begin(), {"diagnose", "--json"});
    return nlohmann::json::parse(run_program(words).out).at("verdict").get<std::string>();
  };
  EXPECT_EQ(verdict({kReference, dump}), "unexplained");
  EXPECT_EQ(verdict({dump}), "unexplained");
  EXPECT_EQ(verdict({"--candidate", dump, kReference}), "unexplained");
  EXPECT_EQ(verdict({"--reference", kReference, dump}), "unexplained");
  // An unset shell variable, or a forgotten path, must not judge the reference by itself.
  expect_failure(run_program({"diagnose", kReference}), 2, {"a reference, and no candidate"});
  expect_failure(run_program({"diagnose", kReference, ""}), 2, {"no path"});
  expect_failure(run_program({"compare", kReference, ""}), 2, {"no path"});
  expect_failure(run_program({"diagnose", kReference, dump, "--candidate", dump}), 2,
                 {"unexpected argument", "one reference and one candidate"});
}

TEST(Diagnose, SaysWhereAnUnknownFaultIs) {
  const TemporaryDirectory directory;
  const Result result = run_program({"diagnose", "--json", "--candidate", faulty(directory)});
  EXPECT_EQ(result.exit_code, 1) << result.err;
  const auto json = nlohmann::json::parse(result.out);
  EXPECT_EQ(json["verdict"], "unexplained");
  EXPECT_EQ(json["first"]["tap"], "layer_03_q_proj");
  EXPECT_EQ(json["first"]["layers"], nlohmann::json({3}));
  const std::string relation = json["first"]["relations"][0]["text"];
  EXPECT_NE(relation.find("a constant factor: 2"), std::string::npos) << relation;
}

TEST(Diagnose, WritesAPageWithTheDiagnosis) {
  const TemporaryDirectory directory;
  const std::string page = directory / "page.html";
  const Result result = run_program(
      {"diagnose", "--candidate", faulty(directory), "--reference", kReference, "--html", page});
  EXPECT_EQ(result.exit_code, 1) << result.err;
  const std::string text = read_text(page);
  EXPECT_NE(text.find("\"diagnosis\":{"), std::string::npos);
  EXPECT_NE(text.find("layer_03_q_proj"), std::string::npos);
}

TEST(Diagnose, RefusesWrongUsage) {
  EXPECT_EQ(run_program({"diagnose"}).exit_code, 2);
  EXPECT_EQ(run_program({"diagnose", "--candidate", kReference, "--html", "x"}).exit_code, 2);
  const Result missing = run_program({"diagnose", "--candidate", "/no/such.npz"});
  EXPECT_EQ(missing.exit_code, 3);
  EXPECT_NE(missing.err.find("/no/such.npz"), std::string::npos) << missing.err;
  EXPECT_EQ(run_program({"diagnose", "--model", "/no/such", "--candidate", "x"}).exit_code, 3);
  for (const char* option : {"--list", "--power"}) {
    const Result ignored = run_program({"diagnose", option, "dump"});
    EXPECT_EQ(ignored.exit_code, 2);
    EXPECT_NE(ignored.err.find("also 'dump'"), std::string::npos) << ignored.err;
  }
  const TemporaryDirectory directory;
  const Result exchanged = run_program({"diagnose", faulty(directory), kReference});
  EXPECT_NE(exchanged.err.find("the reference comes first"), std::string::npos) << exchanged.err;
}

TEST(Diagnose, KnowsWhatPromptsDoNotShow) {
  const auto json =
      nlohmann::json::parse(run_program({"diagnose", "--power", "--json", "--text", "Hello"}).out);
  bool rope = false;
  for (const auto& mistake : json["mistakes"]) {
    if (mistake["id"] != "rope-interleaved") continue;
    rope = true;
    EXPECT_TRUE(mistake["seen_by"].empty());
    EXPECT_TRUE(mistake["common"].get<bool>());
  }
  EXPECT_TRUE(rope);
}

TEST(Diagnose, LetsCompareWarnOfBlindPrompts) {
  const TemporaryDirectory directory;
  const std::string out = directory / "ref";
  ASSERT_EQ(run_program({"extract", "--out", out, "--prompt", "Hello", "--blind-spots"}).exit_code,
            0);
  const auto manifest = nlohmann::json::parse(read_text(out + "/manifest.json"));
  EXPECT_FALSE(manifest["blind_spots"].empty());
  const Result result = run_program({"compare", out, out});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_NE(result.out.find("RoPE pairs neighbouring channels"), std::string::npos) << result.out;
}

}  // namespace
}  // namespace assay
