// Dumps as other programs wrote them, of the bundled model: no option is needed.
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/program.h"

namespace assay {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

class Dumps : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    directory_ = new TemporaryDirectory;
    const Result made =
        run_program({"extract", "--numerics", "bf16,f64", "--taps", "layer_0[01]_*", "--prompt",
                     "The capital of France is", "--prompt", "Hello world", "--max-new-tokens", "3",
                     "--out", *directory_ / "ref"});
    ASSERT_EQ(made.exit_code, 0) << made.err;
  }
  static void TearDownTestSuite() { delete directory_; }
  static std::string ref() { return *directory_ / "ref"; }
  static std::string data(const std::string& name) {
    return std::string(ASSAY_TEST_DATA "/formats/data/") + name;
  }
  // The taps of a prompt that compare judged as passing, sorted.
  static std::vector<std::string> passing(const Json& report, const std::string& prompt) {
    std::vector<std::string> taps;
    for (const Json& one : report["prompts"]) {
      if (one["id"] != prompt) continue;
      for (const Json& tensor : one["tensors"]) {
        if (tensor["verdict"] == "pass" && tensor["name"] != "input_ids") {
          taps.push_back(tensor["name"]);
        }
      }
    }
    std::ranges::sort(taps);
    return taps;
  }
  static Json compare(const std::vector<std::string>& words, int exit_code = 0) {
    std::vector<std::string> all = {"compare", "--json", ref()};
    all.insert(all.end(), words.begin(), words.end());
    const Result result = run_program(all);
    EXPECT_EQ(result.exit_code, exit_code) << result.err << result.out;
    return Json::parse(result.out, nullptr, false);
  }
  static bool has(const std::vector<std::string>& all, const std::string& one) {
    return std::ranges::find(all, one) != all.end();
  }
  static TemporaryDirectory* directory_;
};
TemporaryDirectory* Dumps::directory_ = nullptr;

TEST_F(Dumps, MsprobesStepsFindTheirPromptsByTheirTokens) {
  const Json report = compare({data("msprobe")});
  for (const char* prompt : {"prompt1", "prompt2"}) {
    const std::vector<std::string> taps = passing(report, prompt);
    for (const char* tap : {"embedding_output", "layer_00_q_proj", "layer_00_q_norm",
                            "layer_00_attn_output", "layer_00_output", "final_norm_output"}) {
      EXPECT_TRUE(has(taps, tap)) << prompt << " " << tap;
    }
    EXPECT_EQ(taps.size(), 7u);  // attn_probs too
  }
}

TEST_F(Dumps, VllmsFilesFindTheirPromptsAndLayers) {
  const Json all = compare({data("vllm/all.safetensors")});
  const std::vector<std::string> taps = passing(all, "prompt1");
  EXPECT_EQ(taps.size(), 29u);
  EXPECT_TRUE(has(taps, "embedding_output"));
  EXPECT_TRUE(has(taps, "layer_27_output"));
  const std::vector<std::string> some =
      passing(compare({data("vllm/some.safetensors")}), "prompt1");
  EXPECT_EQ(some, (std::vector<std::string>{"layer_01_output", "layer_13_output", "layer_24_output",
                                            "layer_27_output"}));
  // A directory of requests.
  const TemporaryDirectory requests;
  fs::copy_file(data("vllm/all.safetensors"), requests / "cmpl-17-0.safetensors");
  write_text(requests / "cmpl-17-0.safetensors.lock", "");
  EXPECT_EQ(passing(compare({requests.path()}), "prompt1").size(), 29u);
}

TEST_F(Dumps, VllmsFilesOfAnotherPromptAreNotCompared) {
  const TemporaryDirectory requests;
  fs::copy_file(data("vllm/all.safetensors"), requests / "a.safetensors");
  const TemporaryDirectory other;
  const Result made = run_program({"extract", "--prompt", "Something else", "--prompt", "Entirely",
                                   "--out", other / "ref", "--max-new-tokens", "1"});
  ASSERT_EQ(made.exit_code, 0) << made.err;
  const Result result = run_program({"compare", other / "ref", requests.path()});
  EXPECT_EQ(result.exit_code, 2) << result.out;
  EXPECT_NE(result.err.find("none ran the tokens of a prompt"), std::string::npos) << result.err;
}

TEST_F(Dumps, EdgeLlmsCachesAreKeysAndValues) {
  const Json report = compare({"--prompt", "prompt1", data("edgellm/edgellm_dump.safetensors")});
  const std::vector<std::string> taps = passing(report, "prompt1");
  EXPECT_EQ(taps, (std::vector<std::string>{"layer_00_k_rope", "layer_00_v_proj", "layer_01_k_rope",
                                            "layer_01_v_proj", "logits"}));
}

// The dump's states are wrong from a layer on.
TEST_F(Dumps, WrongStatesOfAStackFail) {
  const TemporaryDirectory directory;
  for (const char* name : {"vllm/all.safetensors", "vllm/some.safetensors"}) {
    const fs::path file = directory.path() / fs::path(name).filename();
    fs::copy_file(data(name), file);
    std::string text = read_text(file);
    // The last token's state after the last layer is at the end.
    for (std::size_t at = text.size() - 100; at < text.size() - 60; ++at) text[at] ^= 0x40;
    write_text(file, text);
    compare({file}, 1);
  }
}

}  // namespace
}  // namespace assay
