// What the commands print and return when they succeed, and when they are called wrongly.
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "cli/program.h"

namespace assay {
namespace {

using Json = nlohmann::ordered_json;

const std::string kModel = ASSAY_ROOT "/models/tiny-qwen3";

Json run_json(const std::vector<std::string>& arguments, const std::string& input = "") {
  const Result result = run_program(arguments, {.input = input});
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  return Json::parse(result.out);
}

TEST(Program, HelpAndVersionAreGood) {
  EXPECT_EQ(run_program({"--help"}).exit_code, 0);
  EXPECT_TRUE(run_program({"--version"}).out.starts_with("assay 0."));
  for (const char* command :
       {"doctor", "explain", "extract", "inspect", "generate", "tokenize", "synth", "bench"}) {
    const Result help = run_program({command, "--help"});
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_NE(help.out.find("--json"), std::string::npos) << command;
  }
}

TEST(Program, ExplainsInThreeForms) {
  const Json json = run_json({"explain", "--model", kModel, "--json"});
  EXPECT_EQ(json.at("blocks").size(), 3U);
  const Json& tensor = json.at("blocks")[1].at("steps")[0].at("tensors")[0];
  EXPECT_EQ(tensor.at("name"), "model.layers.*.input_layernorm.weight");
  EXPECT_EQ(tensor.at("dtype"), "BF16");
  const Result text = run_program({"explain", "--model", kModel});
  const Result page = run_program({"explain", "--model", kModel, "--markdown"});
  for (const Json& block : json.at("blocks")) {
    for (const Json& step : block.at("steps")) {
      const auto formula = step.at("formula").get<std::string>();
      EXPECT_NE(page.out.find("`" + formula + "`"), std::string::npos) << formula;
      const auto name = step.at("writes")[0].at("name").get<std::string>();
      EXPECT_NE(text.out.find("  " + name + " ["), std::string::npos) << name;
    }
  }
  std::istringstream lines(text.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80U) << line;
}

TEST(Program, WrongUsageExitsWithTwo) {
  const std::vector<std::vector<std::string>> wrong = {
      {"improve"},
      {"extract", "--no-such-option"},
      {"extract", "--max-new-tokens", "-1"},
      {"extract", "--max-new-tokens", "many"},
      {"extract", "--threads", "0"},
      {"extract", "--numerics", "f8"},
      {"extract", "--numerics", "bf16,bf16"},
      {"extract", "--taps", "layer_99_*"},
      {"extract", "--store", "f16"},
      {"explain", "--layer", "4000"},
      {"inspect"},
      {"generate"},
      {"tokenize"},
      {"tokenize", "x", "--jsonl"},
      {"tokenize", "--jsonl", "--decode", "--chat"},
      {"generate", "x", "--conversation", "c.json"},
      {"generate", "x", "--thinking"},
      {"extract", "--no-thinking"},
      {"tokenize", "--jsonl", "--thinking"},
      {"generate", "x", "--chat", "--thinking", "--no-thinking"},
      {"synth", "--out", "x"},
      {"synth", "--like", "GPT-7", "--out", "x"},
      {"synth", "--like", "Qwen3-0.6B", "--config", "c.json", "--out", "x"}};
  for (const auto& arguments : wrong) {
    const Result result = run_program(arguments);
    EXPECT_EQ(result.exit_code, 2) << testing::PrintToString(arguments) << result.err;
    EXPECT_FALSE(result.err.empty());
    EXPECT_EQ(result.out, "");
  }
  expect_failure(run_program({"extract", "--taps", "layer_99_*"}), 2,
                 {"--taps", "layer_99_*", "matches no tap"});
  expect_failure(run_program({"generate", "x"}, {.environment = {{"ASSAY_SIMD", "mmx"}}}), 2,
                 {"ASSAY_SIMD", "'mmx'", "plain"});
}

TEST(Extract, WritesThreePromptsAndSaysSo) {
  const TemporaryDirectory directory;
  const std::string out = directory / "ref";
  const Result result = run_program({"extract", "--out", out});
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(result.err, "");  // no progress: not a terminal
  EXPECT_EQ(result.out.find('\x1b'), std::string::npos);
  EXPECT_NE(result.out.find("prompt2/reference.npz"), std::string::npos);
  EXPECT_NE(result.out.find("\"The capital of France is\"\n  -> \" Paris."), std::string::npos)
      << result.out;
  const Json manifest = Json::parse(read_text(out + "/manifest.json"));
  EXPECT_EQ(manifest["prompts"].size(), 3u);
}

TEST(Extract, TakesPromptsFromAllSources) {
  const TemporaryDirectory directory;
  write_text(directory / "a.txt", "one line\r\n\r\nanother\n");
  write_text(directory / "b.jsonl",
             "{\"id\": \"ids\", \"input_ids\": [1, 2, 3]}\n{\"text\": \"x\"}");
  const Json result =
      run_json({"extract", "--json", "--out", directory / "ref", "--prompt", "first", "--prompts",
                directory / "a.txt", "--prompts", directory / "b.jsonl", "--max-new-tokens", "2"});
  std::vector<std::string> ids;
  for (const Json& prompt : result["prompts"]) ids.push_back(prompt["id"]);
  EXPECT_EQ(ids, (std::vector<std::string>{"prompt1", "prompt2", "prompt3", "ids", "prompt5"}));
  EXPECT_EQ(result["prompts"][1]["text"], "one line");
  EXPECT_EQ(result["prompts"][3]["input_ids"], Json({1, 2, 3}));
  EXPECT_EQ(result["prompts"][3]["text"], nullptr);
  EXPECT_EQ(result["prompts"][4]["generated_ids"].size(),
            result["prompts"][4]["input_ids"].size() + 2);
}

TEST(Extract, CutsLongPromptsInTheTable) {
  const TemporaryDirectory directory;
  write_text(directory / "p.jsonl", Json({{"input_ids", std::vector<int>(500, 7)}}).dump());
  const Result result = run_program({"extract", "--out", directory / "ref", "--prompts",
                                     directory / "p.jsonl", "--max-new-tokens", "1"});
  EXPECT_NE(result.out.find("[7,7,7"), std::string::npos);
  EXPECT_NE(result.out.find("7,..."), std::string::npos) << result.out;
  EXPECT_LT(result.out.size(), 700u);
}

TEST(Generate, ContinuesGreedily) {
  const Result result = run_program({"generate", "The capital of France is"});
  EXPECT_TRUE(result.out.starts_with("The capital of France is Paris.")) << result.out;
  for (const char* numerics : {"bf16", "f32", "f64"}) {
    const Json json_result =
        run_json({"generate", "What is 2+2?", "--json", "--numerics", numerics});
    EXPECT_EQ(json_result["stopped"], "eos");
    EXPECT_TRUE(json_result["text"].get<std::string>().starts_with(" 4."));
  }
}

// The bundled model's template joins the messages and begins the answer.
constexpr auto kAsked =
    "<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";

TEST(Chat, GoesThroughTheTemplate) {
  const TemporaryDirectory directory;
  const std::string file = directory / "c.json";
  write_text(file, R"({"messages": [{"role": "user", "content": "What is 2+2?"}], "tools": []})");
  const std::vector<std::vector<std::string>> ways = {{"--chat", "What is 2+2?"},
                                                      {"--conversation", file}};
  const Json ids = run_json({"tokenize", "--json", kAsked})["ids"];
  for (const auto& way : ways) {
    std::vector<std::string> words = {"tokenize", "--json"};
    words.insert(words.end(), way.begin(), way.end());
    const Json encoded = run_json(words);
    EXPECT_EQ(encoded["text"], kAsked);
    EXPECT_EQ(encoded["ids"], ids);
    words.front() = "generate";
    const Json answer = run_json(words);
    EXPECT_EQ(answer["prompt"], kAsked);
    EXPECT_EQ(answer["input_ids"], ids);
    words.erase(words.begin() + 1);
    // Only the answer: the question is in special tokens.
    EXPECT_EQ(run_program(words).out, answer["text"].get<std::string>().substr(
                                          0, answer["text"].get<std::string>().find("<|im_end|>")) +
                                          "\n");
  }
  const std::string lines = R"("What is 2+2?")"
                            "\n"
                            R"({"text": "What is 2+2?"})"
                            "\n"
                            R"({"messages": [{"role": "user", "content": "What is 2+2?"}]})"
                            "\n";
  const Result many = run_program({"tokenize", "--chat", "--jsonl"}, {.input = lines});
  std::istringstream out(many.out);
  std::string line;
  int count = 0;
  for (; std::getline(out, line); ++count) EXPECT_EQ(Json::parse(line), ids) << many.err;
  EXPECT_EQ(count, 3);
}

TEST(Chat, IsRecordedAsItWasEncoded) {
  const TemporaryDirectory directory;
  write_text(directory / "p.jsonl",
             "{\"id\": \"talk\", \"messages\": [{\"role\": \"user\", \"content\": \"What is "
             "2+2?\"}]}\n{\"input_ids\": [1, 2]}\n");
  const Json result =
      run_json({"extract", "--json", "--chat", "--out", directory / "ref", "--prompt",
                "What is 2+2?", "--prompts", directory / "p.jsonl", "--max-new-tokens", "1"});
  const Json manifest = Json::parse(read_text(directory / "ref" / "manifest.json"));
  const Json ids = run_json({"tokenize", "--json", kAsked})["ids"];
  for (const Json& prompts : {result["prompts"], manifest["prompts"]}) {
    ASSERT_EQ(prompts.size(), 3u);
    EXPECT_EQ(prompts[1]["id"], "talk");
    for (const int chat : {0, 1}) {
      EXPECT_EQ(prompts[chat]["text"], kAsked);
      EXPECT_EQ(prompts[chat]["input_ids"], ids);
    }
    EXPECT_EQ(prompts[2]["input_ids"], Json({1, 2}));
  }
}

TEST(Chat, ShowsWhichMistakesItShows) {
  const Json plain = run_json({"diagnose", "--power", "--json", "--text", "a"});
  const Json chat = run_json({"diagnose", "--power", "--json", "--text", "a", "--chat"});
  const auto seen = [](const Json& power) {
    return std::ranges::count_if(power["mistakes"],
                                 [](const Json& mistake) { return !mistake["seen_by"].empty(); });
  };
  EXPECT_GT(seen(chat), seen(plain));
}

TEST(Tokenize, EncodesAndDecodes) {
  const Json encoded = run_json({"tokenize", "Hello", "--json"});
  EXPECT_EQ(encoded["ids"], Json({378}));
  EXPECT_EQ(run_program({"tokenize", "--ids", "276,295,274"}).out, "The capital of\n");
  EXPECT_EQ(
      run_program({"tokenize", "--jsonl"}, {.input = "\"Hello\"\n{\"text\": \"Hello\"}\n"}).out,
      "[378]\n[378]\n");
  EXPECT_EQ(run_program({"tokenize", "--jsonl", "--decode"}, {.input = "[378, 2500]\n"}).out,
            "\"Hello<|endoftext|>\"\n");
  EXPECT_EQ(
      run_program({"tokenize", "--jsonl", "--decode", "--skip-special"}, {.input = "[378, 2500]\n"})
          .out,
      "\"Hello\"\n");
  expect_failure(run_program({"tokenize", "--jsonl"}, {.input = "\"a\"\n{\"x\": 1}\n"}), 3,
                 {"standard input:2"});
}

TEST(Doctor, SaysWhatIsWrongAndWhatToDo) {
  const Json good = run_json({"doctor", "--json", "--model", kModel});
  EXPECT_EQ(good["ok"], true);
  for (const Json& check : good["checks"]) EXPECT_NE(check["status"], "failed") << check;

  const CheckpointCopy model;
  model.replace("config.json", "\"intermediate_size\": 192", "\"intermediate_size\": 200");
  std::filesystem::remove(model.file("tokenizer.json"));
  const Result bad = run_program({"doctor", "--json", "--model", model.path()});
  EXPECT_EQ(bad.exit_code, 1);
  const Json report = Json::parse(bad.out);
  EXPECT_EQ(report["ok"], false);
  std::vector<std::string> failed;
  for (const Json& check : report["checks"]) {
    if (check["status"] != "failed") continue;
    failed.push_back(check["name"]);
    EXPECT_NE(check["remedy"], "");
  }
  EXPECT_EQ(failed, (std::vector<std::string>{"tensors", "tokenizer"}));
  EXPECT_NE(bad.out.find("84 of 310 tensors"), std::string::npos) << bad.out;
  EXPECT_NE(run_program({"doctor", "--model", model.path()}).out.find("-> "), std::string::npos);
}

TEST(Inspect, ShowsStatisticsSlicesChannelsAndHistograms) {
  const TemporaryDirectory directory;
  run_program({"extract", "--out", directory / "ref"});
  const std::string file = directory / "ref/prompt2/reference.npz";
  EXPECT_EQ(run_json({"inspect", file, "--json"})["arrays"].size(), 35u);
  const Json logits = run_json({"inspect", file, "logits", "--json", "--channels", "2",
                                "--histogram", "4", "--slice", "0,-1,:3"})["arrays"][0];
  EXPECT_EQ(logits["shape"], Json({1, 5, 2560}));
  EXPECT_EQ(logits["dtype"], "F32");
  EXPECT_EQ(logits["channels"].size(), 2u);
  EXPECT_EQ(logits["channels"][0]["value"], logits["max"]);
  std::int64_t total = 0;
  for (const Json& count : logits["histogram"]) total += count.get<std::int64_t>();
  EXPECT_EQ(total, 5 * 2560);
  EXPECT_EQ(logits["slice"].size(), 1u);
  EXPECT_EQ(logits["slice"][0][0].size(), 3u);
  EXPECT_EQ(run_json({"inspect", file, "layer_0?_output", "--json"})["arrays"].size(), 10u);
  EXPECT_EQ(run_json({"inspect", kModel, "model.norm.weight", "--json"})["arrays"][0]["dtype"],
            "BF16");
  expect_failure(run_program({"inspect", file, "no_such"}), 3, {file, "'no_such'"});
  expect_failure(run_program({"inspect", file, "logits", "--slice", "0,9"}), 2, {"--slice", "'9'"});
  expect_failure(run_program({"inspect", directory / "none.npz"}), 3, {"none.npz", "No such file"});
  write_text(directory / "a.txt", "x");
  expect_failure(run_program({"inspect", directory / "a.txt"}), 3, {"a.txt", "'.txt'", ".npz"});
}

// Tests that everything is measured; speed itself cannot be tested.
TEST(Bench, MeasuresEverythingAgainstItsLimit) {
  const Json result = run_json({"bench", "--runs", "1", "--json"});
  std::set<std::string> names;
  for (const Json& figure : result["figures"]) {
    names.insert(figure["name"]);
    EXPECT_GT(figure["median"], 0.0) << figure;
    EXPECT_LE(figure["low"], figure["high"]) << figure;
    EXPECT_TRUE(!figure.contains("limit") || figure["ratio"] > 0.0) << figure;
  }
  const std::set<std::string> expected = {"memory read", "decode",      "BF16 peak", "prefill 5",
                                          "prefill 64",  "prefill 512", "extract",   "write npz",
                                          "compare",     "first token", "tokenize"};
  // These two only if the CPU has BF16 dot products.
  EXPECT_EQ(names.erase("prefill 512 fast"), names.erase("noise of fast"));
  EXPECT_EQ(names, expected);
  const Result both = run_program({"bench", "--model", kModel, "--like", "Qwen3-0.6B"});
  EXPECT_EQ(both.exit_code, 2);
}

TEST(Synth, MakesACheckpointThatRuns) {
  const TemporaryDirectory directory;
  const std::string out = directory / "random";
  const Json made = run_json(
      {"synth", "--config", kModel + "/config.json", "--out", out, "--seed", "3", "--json"});
  EXPECT_EQ(made["tensors"], 310);
  EXPECT_EQ(run_json({"doctor", "--json", "--model", out})["ok"], true);
  EXPECT_EQ(run_program({"generate", "Hello", "--model", out, "--max-new-tokens", "3"}).exit_code,
            0);
}

}  // namespace
}  // namespace assay
