// Malicious or odd files that once caused more than a message.
#include <sys/stat.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "assay/npz.h"
#include "cli/program.h"

namespace assay {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

class Strangers : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = new TemporaryDirectory;
    ASSERT_EQ(run_program({"extract", "--numerics", "bf16,f64", "--prompt", "one two", "--out",
                           reference()})
                  .exit_code,
              0);
  }
  static void TearDownTestSuite() { delete directory_; }
  static std::string reference() { return *directory_ / "ref"; }

  // The prompt's arrays, with one of them changed.
  template <class Change>
  static void write_dump(const fs::path& path, const Change& change) {
    const NpzReader npz(fs::path(reference()) / "prompt1/reference.npz");
    std::vector<Array> arrays;
    for (const std::string& name : npz.names()) arrays.push_back(npz.read(name));
    for (Array& array : arrays) change(array);
    std::vector<ArrayView> views;
    for (const Array& array : arrays) views.push_back(array.view());
    write_npz(path, views);
  }

  inline static TemporaryDirectory* directory_ = nullptr;
};

TEST_F(Strangers, AnIdOfAManifestLeadsNowhereElse) {
  const TemporaryDirectory scratch;
  fs::copy(reference(), scratch / "ref", fs::copy_options::recursive);
  fs::create_directories(scratch / "candidate");
  fs::create_directories(scratch / "secret");
  fs::copy_file(scratch / "ref/prompt1/reference.npz", scratch / "secret/s.npz");
  for (const std::string& id : {std::string("../secret/s"), (scratch / "secret/s").string(),
                                std::string(100'000, 'a'), std::string(".."), std::string()}) {
    Json manifest = Json::parse(read_text(fs::path(reference()) / "manifest.json"));
    manifest["prompts"][0]["id"] = id;
    write_text(scratch / "ref/manifest.json", manifest.dump());
    const Result result = run_program({"compare", scratch / "ref", scratch / "candidate"});
    expect_failure(result, 3, {"manifest.json: field 'prompts.id'"});
    EXPECT_LT(result.err.size(), 1000u);
  }
}

TEST_F(Strangers, APipeInACheckpointHangsNothing) {
  for (const char* file :
       {"config.json", "model.safetensors", "tokenizer.json", "generation_config.json"}) {
    const CheckpointCopy checkpoint;
    fs::remove(checkpoint.file(file));
    ASSERT_EQ(::mkfifo(checkpoint.file(file).c_str(), 0600), 0);
    const TemporaryDirectory out;
    expect_failure(run_program({"extract", "--model", checkpoint.path(), "--prompt", "a", "--out",
                                out / "ref"}),
                   3, {file, "not a regular file"});
    EXPECT_EQ(run_program({"doctor", "--model", checkpoint.path()}).exit_code, 1) << file;
    expect_failure(run_program({"compare", reference(), reference(), "--model", checkpoint.path()}),
                   3, {file, "not a regular file"});
  }
}

TEST_F(Strangers, GeneratedIdsThatAreNotNumbersAreAnError) {
  const TemporaryDirectory scratch;
  for (const double add : {std::nan(""), 0.4}) {
    write_dump(scratch / "dump.npz", [&](Array& array) {
      if (array.name != "generated_ids") return;
      Array floats{array.name, DType::kF64, array.shape,
                   std::vector<std::byte>(array.bytes.size())};
      for (std::size_t i = 0; i < array.as<std::int64_t>().size(); ++i) {
        floats.as<double>()[i] = static_cast<double>(array.as<std::int64_t>()[i]) + add;
      }
      array = std::move(floats);
    });
    const Result result = run_program({"compare", reference(), scratch / "dump.npz"});
    EXPECT_EQ(result.exit_code, 1) << result.out << result.err;
    EXPECT_NE(result.out.find("generated_ids"), std::string::npos) << result.out;
    EXPECT_NE(
        run_program({"diagnose", "--reference", reference(), "--candidate", scratch / "dump.npz"})
            .exit_code,
        0);
  }
}

TEST_F(Strangers, ASidecarStandsForNoMoreThanIsThere) {
  const TemporaryDirectory scratch;
  write_text(scratch / "l.bin", std::string(100'000, '\0'));
  Json arrays = Json::array();
  for (int i = 0; i < 65; ++i) {
    arrays.push_back({{"name", "x" + std::to_string(i)},
                      {"dtype", "F32"},
                      {"shape", {25'000}},
                      {"file", "l.bin"}});
  }
  write_text(scratch / "s.json", Json{{"arrays", arrays}}.dump());
  expect_failure(run_program({"inspect", scratch / "s.json"}), 3,
                 {"s.json", "arrays of 6500000 bytes in files of 100000", "at most 64 times"});
  arrays.erase(arrays.begin());
  write_text(scratch / "s.json", Json{{"arrays", arrays}}.dump());
  EXPECT_EQ(run_program({"inspect", scratch / "s.json"}).exit_code, 0);
}

TEST_F(Strangers, NameMapsHaveLimits) {
  const TemporaryDirectory scratch;
  Json rules;
  for (int i = 0; i < 1001; ++i) rules["*" + std::to_string(i)] = "logits";
  write_text(scratch / "many.json", rules.dump());
  const std::string dump = reference() + "/prompt1/reference.npz";
  expect_failure(run_program({"compare", reference(), dump, "--map", scratch / "many.json"}), 3,
                 {"many.json", "1001 rules", "at most 1000"});
  std::string layers;
  for (int i = 0; i < 1'000'000; ++i) layers += "{layer}";
  write_text(scratch / "long.json", Json{{"a{layer}", layers}}.dump());
  expect_failure(run_program({"compare", reference(), dump, "--map", scratch / "long.json"}), 3,
                 {"long.json", "is not a tap"});
}

TEST_F(Strangers, LinesOfPromptsHaveTheLimitsOfJson) {
  const TemporaryDirectory scratch;
  const auto refuse = [&](const std::string& line, const std::vector<std::string>& parts) {
    write_text(scratch / "p.jsonl", line);
    expect_failure(
        run_program({"extract", "--prompts", scratch / "p.jsonl", "--out", scratch / "out"}), 3,
        parts);
  };
  refuse(R"({"text":"a","z":)" + std::string(300, '[') + std::string(300, ']') + "}",
         {"p.jsonl:1", "at most 200 levels"});
  refuse(R"({"input_ids":[9223372036854775808]})",
         {"p.jsonl:1: field 'input_ids'", "9223372036854775808"});
}

TEST_F(Strangers, TokenizersHaveLimits) {
  const auto refuse = [](const auto& change, const std::vector<std::string>& parts) {
    const CheckpointCopy checkpoint;
    Json tokenizer = Json::parse(read_text(checkpoint.file("tokenizer.json")));
    change(tokenizer);
    write_text(checkpoint.file("tokenizer.json"), tokenizer.dump());
    expect_failure(run_program({"tokenize", "--model", checkpoint.path(), "a"}), 3, parts);
  };
  refuse(
      [](Json& json) {
        Json token = json["added_tokens"].back();
        token["id"] = token["id"].get<int>() + 1;
        token["content"] = std::string(513, 'q');
        json["added_tokens"].push_back(token);
      },
      {"tokenizer.json", "513 bytes", "at most 512"});
  refuse(
      [](Json& json) {
        Json steps = Json::array();
        for (int i = 0; i < 101; ++i) steps.push_back({{"type", "NFKD"}});
        json["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
      },
      {"tokenizer.json", "101 steps", "at most 100"});
}

// Each takes seconds, but once took a minute or more; the test's time limit would show it.
TEST_F(Strangers, NamesTakeLinearTime) {
  const TemporaryDirectory scratch;
  std::string wrapped;
  for (int i = 0; i < 400'000; ++i) wrapped += "module.";
  wrapped.resize(60'000);
  write_dump(scratch / "long.npz", [&](Array& array) {
    if (array.name == "rope_cos") array.name = wrapped;
  });
  EXPECT_EQ(run_program({"compare", reference(), scratch / "long.npz"}).exit_code, 0);
  std::string wild;
  for (int i = 0; i < 400; ++i) wild += "a*";
  write_text(scratch / "map.json", Json{{wild, "logits"}}.dump());
  EXPECT_EQ(
      run_program({"compare", reference(), scratch / "long.npz", "--map", scratch / "map.json"})
          .exit_code,
      0);
  write_text(scratch / "map.json", Json{{std::string(1001, 'a'), "logits"}}.dump());
  expect_failure(
      run_program({"compare", reference(), scratch / "long.npz", "--map", scratch / "map.json"}), 3,
      {"1001 bytes", "at most 1000"});
}

TEST_F(Strangers, APatternWhoseWorkExplodesEndsSoon) {
  const CheckpointCopy checkpoint;
  Json json = Json::parse(read_text(checkpoint.file("tokenizer.json")));
  json["pre_tokenizer"] = {{"type", "Split"},
                           {"pattern", {{"Regex", "(?:a+)+\\d|x(a+)+$"}}},
                           {"behavior", "Isolated"},
                           {"invert", false}};
  write_text(checkpoint.file("tokenizer.json"), json.dump());
  std::string text;
  for (int i = 0; i < 10; ++i) text += std::string(28, 'a') + "!";
  expect_failure(run_program({"tokenize", "--model", checkpoint.path(), text}), 3,
                 {"matching does not end", "a pattern whose work grows with the text alone"});
}

TEST_F(Strangers, MoreTokensThanAnyModelReadsAreRefused) {
  const TemporaryDirectory scratch;
  write_dump(scratch / "ids.npz", [](Array& array) {
    if (array.name != "input_ids") return;
    array.shape = {1, (std::int64_t{1} << 24) + 1};
    array.bytes.resize(static_cast<std::size_t>(array.shape[1]) * 8);
  });
  const Result result = run_program({"compare", reference(), scratch / "ids.npz"});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_NE(result.out.find("input_ids of prompt1 cannot be compared"), std::string::npos);
}

TEST_F(Strangers, NothingIsWrittenOverWhatIsRead) {
  const TemporaryDirectory scratch;
  write_dump(scratch / "dump.npz", [](const Array&) {});
  const std::string before = read_text(scratch / "dump.npz");
  for (const char* option : {"--html", "--junit"}) {
    expect_failure(
        run_program({"compare", reference(), scratch / "dump.npz", option, scratch / "dump.npz"}),
        2, {option, "which is an input"});
  }
  expect_failure(run_program({"compare", reference(), scratch / "dump.npz", "--html", scratch / "x",
                              "--junit", scratch / "x"}),
                 2, {"--junit", "the same path as --html"});
  EXPECT_EQ(read_text(scratch / "dump.npz"), before);
  expect_failure(run_program({"compare", reference(), reference(), "--tolerance", "nan"}), 2,
                 {"--tolerance", "a number"});
  expect_failure(run_program({"extract", "--out", ""}), 2, {"--out", "empty"});
}

TEST_F(Strangers, AReportContainsNoActiveMarkup) {
  const TemporaryDirectory scratch;
  write_dump(scratch / "dump.npz", [](Array& array) {
    if (array.name == "rope_cos")
      array.name =
          "a\xE2\x80\xAE\xE2\x80\xA8\xC2\x9B"
          "b";
  });
  const Result result = run_program(
      {"compare", reference(), scratch / "dump.npz", "--html", scratch / "report.html"});
  const std::string page = read_text(scratch / "report.html");
  for (const char* mark : {"\xE2\x80\xAE", "\xE2\x80\xA8", "\xC2\x9B"}) {
    EXPECT_EQ(page.find(mark), std::string::npos);
  }
  EXPECT_NE(page.find("\\u202e"), std::string::npos);
}

}  // namespace
}  // namespace assay
