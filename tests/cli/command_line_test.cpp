// The command line itself: help, misspellings, lists, colours, JSON of errors.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "cli/program.h"

namespace assay {
namespace {

using Json = nlohmann::ordered_json;

const std::vector<std::string> kCommands = {
    "doctor",   "capture",  "explain", "extract", "compare",    "diagnose", "inspect",
    "generate", "tokenize", "synth",   "bench",   "completion", "help"};

std::string output_of(const std::vector<std::string>& arguments) {
  const Result result = run_program(arguments);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_EQ(result.err, "");
  return result.out;
}

TEST(CommandLine, HelpIsWhereItIsLookedFor) {
  const std::string help = output_of({"--help"});
  for (const std::string& command : kCommands) {
    EXPECT_NE(help.find("\n  " + command + " "), std::string::npos) << command;
    EXPECT_EQ(output_of({"help", command}), output_of({command, "--help"}));
    EXPECT_EQ(output_of({command, "-h"}), output_of({command, "--help"}));
  }
  EXPECT_EQ(output_of({}), help);
  EXPECT_EQ(output_of({"help"}), help);
  EXPECT_EQ(output_of({"-V"}), output_of({"--version"}));
  EXPECT_EQ(Json::parse(output_of({"--version", "--json"}))["version"],
            output_of({"-V"}).substr(6, 5));
}

TEST(CommandLine, HelpFitsInEightyColumns) {
  for (const std::string& command : kCommands) {
    std::istringstream lines(output_of({command, "--help"}));
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80U) << line;
  }
}

TEST(CommandLine, ExamplesOfTheHelpAreNotWrongUsage) {
  std::size_t examples = 0;
  for (const std::string& command : kCommands) {
    std::istringstream lines(output_of({command, "--help"}));
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with("  assay ")) continue;
      ++examples;
      std::vector<std::string> words;
      std::istringstream text(line.substr(8, line.find_first_of("<>") - 8));
      std::string quoted;
      for (std::string word; text >> word;) {
        const bool ends = word.ends_with('"') || word.ends_with('\'');
        const bool begins = word.starts_with('"') || word.starts_with('\'');
        if (!quoted.empty() || (begins && !ends)) {
          quoted += (quoted.empty() ? "" : " ") + word;
          if (!ends) continue;
          word = std::exchange(quoted, {});
        }
        if (word.starts_with('"') || word.starts_with('\'')) word = word.substr(1, word.size() - 2);
        words.push_back(word);
      }
      // Parses the rest, but does nothing.
      words.push_back("--help");
      EXPECT_EQ(run_program(words).exit_code, 0) << line;
    }
  }
  EXPECT_GE(examples, 15U);
}

TEST(CommandLine, SaysWhatWasProbablyMeant) {
  const auto expect_hint = [](const std::vector<std::string>& words, const std::string& hint) {
    expect_failure(run_program(words), 2, {hint});
  };
  expect_hint({"compar"}, "unknown command 'compar'; did you mean 'compare'?");
  expect_hint({"compar", "ref", "dump"}, "unknown command 'compar'; did you mean 'compare'?");
  expect_hint({"compar", "ref", "--html", "x"},
              "unknown command 'compar'; did you mean 'compare'?");
  expect_hint({"compar", "--help"}, "unknown command 'compar'; did you mean 'compare'?");
  expect_hint({"help", "dignose"}, "did you mean 'diagnose'?");
  expect_hint({"improve"}, "expected one of doctor, explain, extract");
  expect_hint({"extract", "--promt", "x"}, "unknown option '--promt'; did you mean '--prompt'?");
  expect_hint({"extract", "--promt=x"}, "unknown option '--promt'; did you mean '--prompt'?");
  expect_hint({"extract", "--html", "x"}, "it is an option of compare, diagnose");
  expect_hint({"--out", "x", "extract"}, "unknown option '--out'; put it after the command");
  expect_hint({"extract", "--quiet"}, "see 'assay extract --help'");
  expect_hint({"extract", "--compression", "smal"},
              "--compression: 'smal'; expected none, fast or small; did you mean 'small'?");
  expect_hint({"extract", "--numerics", "fb16"}, "did you mean 'bf16'?");
  expect_hint({"extract", "--taps", "layer_3_q_proj"}, "did you mean 'layer_03_q_proj'?");
  expect_hint({"extract", "--threads", "many"},
              "--threads: 'many'; expected a whole number from 1 to 1024");
  expect_hint({"extract", "--threads"}, "--threads: no value; expected --threads N");
  expect_hint({"synth", "--out", "x", "--like", "Qwen3-0.6"}, "did you mean 'Qwen3-0.6B'?");
  expect_hint({"bench", "--like", "lama-3.1-8b"}, "did you mean 'Llama-3.1-8B'?");
  expect_hint({"compare"}, "no REFERENCE");
  expect_hint({"compare", "a"}, "no CANDIDATE");
  expect_hint({"compare", "a", "b", "c", "d"}, "unexpected argument 'c'");
  expect_hint({"doctor", "/"}, "a model is given as --model /");
  expect_hint({"explain", "--json", "--markdown"}, "excludes");
  const TemporaryDirectory directory;
  const std::string reference = directory / "ref";
  run_program({"extract", "--prompt", "Hello", "--max-new-tokens", "1", "--out", reference});
  const auto compare = [&](const std::string& option, const std::string& value) {
    return std::vector<std::string>{"compare", reference, reference, option, value};
  };
  expect_hint(compare("--map", "vlm"), "did you mean 'vLLM'?");
  expect_hint(compare("--profile", "nosie"), "did you mean 'noise'?");
  expect_hint(compare("--prompt", "promt1"), "did you mean 'prompt1'?");
  expect_failure(run_program({"inspect", reference + "/prompt1/reference.npz", "logit"}), 3,
                 {"did you mean 'logits'?"});
  expect_failure(run_program({"doctor", "--model", "qwen3-0.6b"}), 3, {"assay synth --like"});
}

TEST(CommandLine, ListsTheNamesThatOptionsTake) {
  EXPECT_NE(output_of({"synth", "--list"}).find("Qwen3-0.6B\n"), std::string::npos);
  EXPECT_EQ(output_of({"bench", "--list"}), output_of({"synth", "--list"}));
  EXPECT_NE(output_of({"compare", "--list"}).find("vLLM\n"), std::string::npos);
  const Json taps = Json::parse(output_of({"extract", "--list", "--json"}));
  std::vector<std::string> words = {"extract", "--max-new-tokens", "0", "--prompt", "Hello",
                                    "--json"};
  for (const Json& tap : taps["taps"]) {
    words.insert(words.end(), {"--taps", tap["glob"]});
  }
  const TemporaryDirectory directory;
  words.insert(words.end(), {"--out", directory / "ref"});
  output_of(words);
  // Every listed tap, in the listed shape.
  const Json shown = Json::parse(
      output_of({"inspect", directory / "ref/prompt1/reference.npz", "--json"}))["arrays"];
  std::size_t found = 0;
  for (const Json& tap : taps["taps"]) {
    std::string name = tap["glob"];
    if (name.starts_with("layer_*")) name.replace(6, 1, "03");
    const auto array =
        std::ranges::find_if(shown, [&](const Json& a) { return a["name"] == name; });
    ASSERT_NE(array, shown.end()) << name;
    Json shape = tap["shape"];
    for (Json& axis : shape) {
      if (axis == "S") axis = 1;
    }
    EXPECT_EQ((*array)["shape"], shape) << name;
    found += name.starts_with("layer_") ? 28 : 1;
  }
  // And input_ids, generated_ids, rope_cos, rope_sin.
  EXPECT_EQ(found + 4, shown.size());
}

TEST(CommandLine, ColoursAsAsked) {
  const auto colours = [](std::vector<std::string> words,
                          std::vector<std::pair<std::string, std::string>> environment = {}) {
    words.insert(words.begin(), {"explain", "--layer", "0"});
    return run_program(words, {.environment = std::move(environment)}).out.find('\x1b') !=
           std::string::npos;
  };
  EXPECT_FALSE(colours({}));
  EXPECT_FALSE(colours({"--color", "auto"}));
  EXPECT_FALSE(colours({"--color", "never"}));
  EXPECT_TRUE(colours({"--color", "always"}));
  EXPECT_TRUE(colours({"--color", "always"}, {{"NO_COLOR", "1"}}));
}

TEST(CommandLine, ErrorsAreJsonWhereJsonIsAskedFor) {
  const auto failed = [](const std::vector<std::string>& words, const RunOptions& options = {}) {
    const Result result = run_program(words, options);
    const Json json = Json::parse(result.out);
    EXPECT_EQ(json["schema"], "assay.error/1");
    EXPECT_EQ(json["error"]["exit_code"], result.exit_code);
    EXPECT_EQ(result.err, "assay: error: " + json["error"]["message"].get<std::string>() + "\n");
    return json["error"];
  };
  EXPECT_EQ(failed({"extract", "--json", "--nothing"})["kind"], "usage");
  EXPECT_EQ(failed({"compar", "--json"})["kind"], "usage");
  const Json missing = failed({"compare", "nothere", "nothere", "--json"});
  EXPECT_EQ(missing["kind"], "input");
  EXPECT_EQ(missing["where"], "nothere");
  // After --, it is a text.
  EXPECT_EQ(run_program({"generate", "--numerics", "x", "--", "--json"}).out, "");
}

TEST(CommandLine, PrintsReportsWhereTheFileIsADash) {
  const TemporaryDirectory directory;
  const std::string reference = directory / "ref";
  run_program({"extract", "--prompt", "Hello", "--max-new-tokens", "1", "--out", reference});
  const std::string candidate = reference + "/prompt1/reference.npz";
  EXPECT_TRUE(output_of({"compare", reference, candidate, "--junit", "-"}).starts_with("<?xml"));
  const std::string page = output_of({"compare", reference, candidate, "--html", "-"});
  EXPECT_TRUE(page.starts_with("<!") || page.starts_with("<html"));
  EXPECT_TRUE(page.ends_with("</html>\n"));
  EXPECT_EQ(output_of({"compare", reference, candidate, "--suggest-map", "-"}), "{}\n");
  const std::string diagnosed =
      output_of({"diagnose", "--reference", reference, "--candidate", candidate, "--html", "-"});
  EXPECT_TRUE(diagnosed.ends_with("</html>\n"));
  expect_failure(run_program({"compare", reference, candidate, "--html", "-", "--junit", "-"}), 2,
                 {"--junit", "standard output"});
  EXPECT_EQ(run_program({"compare", reference, candidate, "--html", "-", "--json"}).exit_code, 2);
}

TEST(CommandLine, ShowsWhatIsInADirectory) {
  const TemporaryDirectory directory;
  const std::string reference = directory / "ref";
  run_program({"extract", "--numerics", "bf16,f64", "--max-new-tokens", "1", "--out", reference});
  const Json set = Json::parse(output_of({"inspect", reference, "--json"}));
  EXPECT_EQ(set["kind"], "reference");
  EXPECT_EQ(set["reference"]["oracle"], true);
  EXPECT_EQ(set["reference"]["num_layers"], 28);
  ASSERT_EQ(set["files"].size(), 6U);
  EXPECT_EQ(set["files"][1]["file"], "prompt1/oracle.npz");
  EXPECT_EQ(set["arrays"].size(), 0U);
  const std::string text = output_of({"inspect", reference});
  EXPECT_NE(text.find("reference: qwen3, 28 layers"), std::string::npos) << text;
  EXPECT_NE(text.find("prompt2/reference.npz"), std::string::npos) << text;
  // An array of all files.
  const Json logits = Json::parse(output_of({"inspect", reference, "logits", "--json"}));
  ASSERT_EQ(logits["arrays"].size(), 6U);
  EXPECT_EQ(logits["arrays"][2]["file"], "prompt2/reference.npz");

  const std::string dumps = directory / "dumps";
  std::filesystem::create_directory(dumps);
  for (const char* prompt : {"prompt1", "prompt2"}) {
    std::filesystem::copy_file(std::filesystem::path(reference) / prompt / "reference.npz",
                               std::filesystem::path(dumps) / (std::string(prompt) + ".npz"));
  }
  const Json found = Json::parse(output_of({"inspect", dumps, "--json"}));
  EXPECT_EQ(found["kind"], "dumps");
  EXPECT_EQ(found["files"].size(), 2U);
  EXPECT_EQ(found["files"][1]["prompt"], "prompt2");

  const Json model = Json::parse(
      output_of({"inspect", ASSAY_ROOT "/models/tiny-qwen3", "model.norm.weight", "--json"}));
  EXPECT_EQ(model["kind"], "checkpoint");
  EXPECT_EQ(model["checkpoint"]["model_type"], "qwen3");
  EXPECT_EQ(model["checkpoint"]["tokenizer"], true);
  EXPECT_EQ(model["arrays"].size(), 1U);

  std::filesystem::create_directory(directory / "empty");
  expect_failure(run_program({"inspect", directory / "empty"}), 3, {"a directory without arrays"});
}

}  // namespace
}  // namespace assay
