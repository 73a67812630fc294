// A reference compared with the checkpoint that it was made from, and with others.
#include <cstring>
#include <nlohmann/json.hpp>

#include "cli/program.h"

namespace assay {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

class Stale : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = new TemporaryDirectory;
    const Result made = run_program({"extract", "--model", ASSAY_ROOT "/models/tiny-qwen3",
                                     "--prompt", "Hello", "--out", *directory_ / "ref"});
    ASSERT_EQ(made.exit_code, 0) << made.err;
  }
  static void TearDownTestSuite() { delete directory_; }

  // A copy of the checkpoint under another name.
  Stale() : model_(scratch_ / "renamed") {
    fs::copy(ASSAY_ROOT "/models/tiny-qwen3", model_);
    for (const auto& entry : fs::directory_iterator(model_)) {
      fs::permissions(entry, fs::perms::owner_write, fs::perm_options::add);
    }
  }
  static std::string ref() { return *directory_ / "ref"; }
  static std::string right() { return *directory_ / "ref/prompt1/reference.npz"; }
  Result compare(const std::string& reference) const {
    return run_program({"compare", reference, right(), "--model", model_});
  }
  void expect_refused(const std::vector<std::string>& parts) const {
    expect_failure(compare(ref()), 3, parts);
    expect_failure(compare(right()), 3, parts);
    expect_failure(run_program({"diagnose", "--model", model_, "--reference", ref(), "--candidate",
                                right(), "--rehash"}),
                   3, parts);
  }
  // Changes a value somewhere in the file to one of the same length.
  void change(const std::string& file) const {
    std::string text = read_text(model_ / file);
    text[text.size() / 2] = static_cast<char>(text[text.size() / 2] ^ 1);
    write_text(model_ / file, text);
  }
  // Adds a field that does not change the computation.
  void add_field(const std::string& file) const {
    ordered_json json = ordered_json::parse(read_text(model_ / file));
    json["note"] = "another file";
    write_text(model_ / file, json.dump());
  }
  ordered_json manifest() const {
    return ordered_json::parse(read_text(*directory_ / "ref/manifest.json"));
  }

  TemporaryDirectory scratch_;
  fs::path model_;
  static TemporaryDirectory* directory_;
};
TemporaryDirectory* Stale::directory_ = nullptr;

TEST_F(Stale, NamesOfDirectoriesDoNotMatter) {
  EXPECT_EQ(compare(ref()).exit_code, 0) << compare(ref()).err;
  EXPECT_EQ(
      run_program({"diagnose", "--model", model_, "--reference", ref(), "--candidate", right()})
          .exit_code,
      0);
}

TEST_F(Stale, TheManifestKeepsEveryFile) {
  std::vector<std::string> names;
  const ordered_json written = manifest();
  for (const auto& file : written["model"]["files"]) names.push_back(file["file"]);
  EXPECT_EQ(names, (std::vector<std::string>{"config.json", "generation_config.json"}));
}

TEST_F(Stale, OtherWeightsAreRefused) {
  change("model.safetensors");
  expect_refused({"renamed/model.safetensors", "not the reference's checkpoint", "SHA-256",
                  std::string(manifest()["model"]["weights"][0]["sha256"]), "manifest.json"});
}

TEST_F(Stale, WeightsOfAnotherSizeAreRefused) {
  std::string text = read_text(model_ / "model.safetensors");
  // A header that is eight spaces longer.
  std::uint64_t header = 0;
  std::memcpy(&header, text.data(), sizeof header);
  text.insert(8 + header, 8, ' ');
  header += 8;
  std::memcpy(text.data(), &header, sizeof header);
  write_text(model_ / "model.safetensors", text);
  expect_refused({"renamed/model.safetensors", "not the reference's checkpoint", "bytes"});
}

TEST_F(Stale, AnotherTokenizerIsRefused) {
  change("tokenizer.json");
  expect_refused({"renamed/tokenizer.json", "not the reference's checkpoint", "SHA-256"});
}

TEST_F(Stale, AnotherConfigIsRefusedButNotAnotherLayoutOfIt) {
  ordered_json config = ordered_json::parse(read_text(model_ / "config.json"));
  write_text(model_ / "config.json", config.dump());
  EXPECT_EQ(compare(ref()).exit_code, 0) << compare(ref()).err;
  config["rms_norm_eps"] = 1e-5;
  write_text(model_ / "config.json", config.dump());
  expect_refused({"renamed/config.json", "not the reference's checkpoint"});
}

TEST_F(Stale, AFileThatIsGoneIsNamed) {
  fs::remove(model_ / "generation_config.json");
  expect_refused({"renamed/generation_config.json", "missing"});
}

TEST_F(Stale, AnOlderManifestIsCheckedAsFarAsItGoes) {
  const fs::path older = scratch_ / "older";
  fs::copy(ref(), older, fs::copy_options::recursive);
  ordered_json old = manifest();
  old["model"].erase("files");
  write_text(older / "manifest.json", old.dump());
  EXPECT_EQ(compare(older).exit_code, 0);
  add_field("generation_config.json");
  EXPECT_EQ(compare(older).exit_code, 0);
  add_field("config.json");
  expect_failure(compare(older), 3, {"renamed/config.json", "not the reference's checkpoint"});
  old["model"].erase("config");
  write_text(older / "manifest.json", old.dump());
  EXPECT_EQ(compare(older).exit_code, 0);
  change("model.safetensors");
  expect_failure(compare(older), 3, {"model.safetensors", "not the reference's checkpoint"});
}

// A single file has no manifest; what is two directories above it is not its own.
TEST_F(Stale, ASingleFileIsNotComparedWithItsNeighbours) {
  fs::create_directories(scratch_ / "a/b");
  write_text(scratch_ / "a/manifest.json", "no manifest");
  fs::copy_file(right(), scratch_ / "a/b/x.npz");
  add_field("generation_config.json");
  EXPECT_EQ(compare(scratch_ / "a/b/x.npz").exit_code, 0);
}

}  // namespace
}  // namespace assay
