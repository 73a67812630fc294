// Dumps of other people's engines, made by `make arena` and reduced to the longer prompt and the
// first two layers: compare, diagnose and the check in an engine give the right verdict on each.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "assay.h"
#include "assay/npz.h"
#include "cli/program.h"

namespace assay {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

const fs::path kHere = ASSAY_TEST_DATA "/arena";
const fs::path kModels = ASSAY_ROOT "/python/arena/models";

// For each model: the checkpoint, drawn again as the arena draws it, and a reference.
struct Model {
  fs::path checkpoint;
  fs::path reference;
};

const Model& model_of(const std::string& name) {
  static const TemporaryDirectory directory;
  static std::map<std::string, Model> made;
  const auto [at, is_new] = made.try_emplace(name);
  Model& model = at->second;
  if (!is_new) return model;
  model.reference = directory / ("reference-" + name);
  model.checkpoint = directory / name;
  const Result drawn =
      run_program({"synth", "--config", kModels / (name + ".json"), "--out", model.checkpoint});
  EXPECT_EQ(drawn.exit_code, 0) << drawn.err;
  const Result extracted = run_program({"extract", "--model", model.checkpoint, "--prompts",
                                        kHere / "prompts.jsonl", "--numerics", "bf16,f64", "--taps",
                                        "*", "--max-new-tokens", "1", "--out", model.reference});
  EXPECT_EQ(extracted.exit_code, 0) << extracted.err;
  return model;
}

// One engine on one model: a line of cases.json.
struct Case {
  std::string name;
  json entry;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::vector<Case> cases() {
  std::ifstream file(kHere / "cases.json");
  std::vector<Case> all;
  const json table = json::parse(file);
  for (const auto& [name, entry] : table.items()) all.push_back({name, entry});
  return all;
}

class Arena : public testing::TestWithParam<Case> {
 protected:
  const json& entry() const { return GetParam().entry; }
  const Model& model() const { return model_of(entry()["model"]); }
  bool passes() const { return entry()["passes"]; }
  fs::path dump() const { return kHere / (GetParam().name + ".npz"); }
};

TEST_P(Arena, CompareSaysWhatIsRight) {
  const Result result = run_program({"compare", model().reference, dump()});
  EXPECT_EQ(result.exit_code, passes() ? 0 : 1) << result.out << result.err;
}

TEST_P(Arena, DiagnoseSaysWhatIsRight) {
  const Result result = run_program({"diagnose", "--model", model().checkpoint, "--reference",
                                     model().reference, "--candidate", dump(), "--json"});
  ASSERT_LE(result.exit_code, 1) << result.err;
  const json report = json::parse(result.out);
  EXPECT_EQ(report["verdict"], entry()["verdict"]) << result.out;
  EXPECT_EQ(report["findings"].size(), entry()["words"].size()) << result.out;
  for (const std::string word : entry()["words"]) {
    EXPECT_TRUE(std::ranges::any_of(report["findings"],
                                    [&](const json& finding) {
                                      const std::string id = finding["id"];
                                      return id.find(word) != std::string::npos;
                                    }))
        << "no " << word << " in " << result.out;
  }
}

TEST_P(Arena, TheCheckInAnEngineSaysWhatIsRight) {
  const std::string reference = model().reference;
  assay_options options = {};
  options.size = sizeof(options);
  options.reference = reference.c_str();
  assay_checker* checker = assay_open(&options);
  ASSERT_NE(checker, nullptr) << assay_message();
  const NpzReader npz(dump());
  for (const std::string& name : npz.names()) {
    const Array array = npz.read(name);
    assay_check(checker, name.c_str(), array.bytes.data(), static_cast<int>(array.dtype),
                static_cast<int>(array.shape.size()), array.shape.data(), nullptr, nullptr);
  }
  const std::string text = assay_report_text(checker);
  const assay_verdict verdict = assay_close(checker);
  EXPECT_EQ(verdict == ASSAY_PASS || verdict == ASSAY_COARSE, passes()) << verdict << text;
}

std::string test_name(const testing::TestParamInfo<Case>& instance) {
  std::string name = instance.param.name;
  std::ranges::replace_if(
      name, [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Engines, Arena, testing::ValuesIn(cases()), test_name);

}  // namespace
}  // namespace assay
