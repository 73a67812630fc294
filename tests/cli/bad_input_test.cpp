// What a user with a mistake sees: one line that tells what and where it is and what was expected,
// the right exit code, and nothing half-written under a final name.
#include <nlohmann/json.hpp>

#include "assay/error.h"
#include "assay/npz.h"
#include "cli/program.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

// Runs `extract` on the damaged copy; nothing may be left behind.
void expect_refused(const CheckpointCopy& model, int exit_code,
                    const std::vector<std::string>& parts) {
  const TemporaryDirectory out;
  expect_failure(run_program({"extract", "--model", model.path(), "--out", out / "ref"}), exit_code,
                 parts);
  if (!fs::exists(out / "ref")) return;
  for (const auto& entry : fs::recursive_directory_iterator(out / "ref")) {
    EXPECT_FALSE(entry.is_regular_file()) << entry.path();
  }
}

TEST(BadModel, DirectoryThatIsMissingOrAFile) {
  expect_failure(run_program({"extract", "--model", "/nowhere/at/all"}), 3,
                 {"/nowhere/at/all", "no such file, directory or cached model",
                  "expected a checkpoint directory"});
  const CheckpointCopy model;
  const std::string file = model.file("config.json");
  expect_failure(run_program({"extract", "--model", file}), 3, {file, "not a directory"});
  // A path through a file fails like a missing permission, also for root.
  expect_failure(run_program({"extract", "--model", file + "/below"}), 3, {file});
}

TEST(BadModel, FilesThatAreMissing) {
  for (const char* name : {"config.json", "tokenizer.json", "model.safetensors"}) {
    const CheckpointCopy model;
    fs::remove(model.file(name));
    expect_refused(model, 3, {model.path(), name});
  }
}

TEST(BadModel, ConfigWithoutAFieldOrOfAnotherArchitecture) {
  {
    const CheckpointCopy model;
    model.replace("config.json", "\"head_dim\"", "\"dead_him\"");
    expect_refused(model, 3,
                   {"config.json", "'head_dim'", "missing", "expected a positive integer"});
  }
  {
    const CheckpointCopy model;
    model.replace("config.json", "\"model_type\": \"qwen3\"", "\"model_type\": \"gpt2\"");
    expect_refused(model, 3,
                   {"config.json", "'model_type'", "\"gpt2\"", "expected one of gemma2, "});
  }
  {
    const CheckpointCopy model;
    write_text(model.file("config.json"), "{\"model_type\": ");
    expect_refused(model, 3, {"config.json", "not valid JSON", "byte"});
  }
}

// Rewrites the header of the copy's model.safetensors.
class HeaderEdit {
 public:
  explicit HeaderEdit(const CheckpointCopy& model) : path_(model.file("model.safetensors")) {
    const std::string bytes = read_text(path_);
    std::uint64_t size = 0;
    for (int i = 7; i >= 0; --i) size = size << 8 | static_cast<unsigned char>(bytes[i]);
    header = nlohmann::ordered_json::parse(bytes.substr(8, size));
    data = bytes.substr(8 + size);
  }
  void write() const {
    const std::string text = header.dump();
    std::string bytes;
    for (int i = 0; i < 8; ++i) bytes += static_cast<char>(text.size() >> (8 * i));
    write_text(path_, bytes + text + data);
  }

  nlohmann::ordered_json header;
  std::string data;

 private:
  fs::path path_;
};

constexpr const char* kTensor = "model.layers.3.mlp.up_proj.weight";

TEST(BadWeights, CutShort) {
  const std::uintmax_t whole = fs::file_size(ASSAY_ROOT "/models/tiny-qwen3/model.safetensors");
  for (const std::uintmax_t size :
       {std::uintmax_t{0}, std::uintmax_t{7}, std::uintmax_t{1000}, whole / 2, whole - 1}) {
    const CheckpointCopy model;
    fs::resize_file(model.file("model.safetensors"), size);
    expect_refused(model, 3, {"model.safetensors", "expected"});
  }
}

TEST(BadWeights, HeaderThatIsOversizedOrNotJson) {
  const CheckpointCopy model;
  std::string bytes = read_text(model.file("model.safetensors"));
  bytes[6] = 1;
  write_text(model.file("model.safetensors"), bytes);
  expect_refused(model, 3, {"model.safetensors", "header of", "at most 100000000"});
  bytes[6] = 0;
  bytes[8] = '[';
  write_text(model.file("model.safetensors"), bytes);
  expect_refused(model, 3, {"model.safetensors", "header", "JSON"});
}

TEST(BadWeights, OffsetsThatOverlapOrLie) {
  {
    const CheckpointCopy model;
    HeaderEdit edit(model);
    auto& offsets = edit.header[kTensor]["data_offsets"];
    offsets = {offsets[0].get<int>() - 64, offsets[1].get<int>() - 64};
    edit.write();
    expect_refused(model, 3, {"model.safetensors", "overlap"});
  }
  {
    const CheckpointCopy model;
    HeaderEdit edit(model);
    edit.header[kTensor]["data_offsets"][1] = 4'000'000'000;
    edit.write();
    expect_refused(model, 3, {"model.safetensors", kTensor, "4000000000"});
  }
  {
    const CheckpointCopy model;
    HeaderEdit edit(model);
    edit.header[kTensor]["shape"] = {192, 65};
    edit.write();
    expect_refused(model, 3, {"model.safetensors", kTensor, "bytes", "[192, 65]"});
  }
}

TEST(BadWeights, TensorOfAnotherDtypeOrShapeOrMissing) {
  {
    const CheckpointCopy model;
    HeaderEdit edit(model);
    edit.header[kTensor]["dtype"] = "I16";
    edit.write();
    expect_refused(model, 3, {"model.safetensors", kTensor, "I16", "expected BF16, F16 or F32"});
  }
  {
    const CheckpointCopy model;
    HeaderEdit edit(model);
    edit.header[kTensor]["shape"] = {64, 192};
    edit.write();
    expect_refused(model, 3, {"model.safetensors", kTensor, "[64, 192]", "expected [192, 64]"});
  }
  {
    const CheckpointCopy model;
    HeaderEdit edit(model);
    edit.header["other.name"] = edit.header[kTensor];
    edit.header.erase(kTensor);
    edit.write();
    expect_refused(model, 3, {kTensor, "missing", "expected a tensor of shape [192, 64]"});
  }
}

TEST(BadTokenizer, UnknownComponent) {
  const CheckpointCopy model;
  model.replace("tokenizer.json", "\"NFC\"", "\"BertNormalizer\"");
  expect_refused(model, 3, {"tokenizer.json", "normalizer", "BertNormalizer", "expected"});
}

TEST(BadPrompt, InvalidUtf8EmptyTooLongOrNoToken) {
  const TemporaryDirectory directory;
  const std::string out = directory / "ref";
  expect_failure(run_program({"extract", "--out", out, "--prompt", "caf\xe9 au lait"}), 3,
                 {"prompt1", "0xE9", "offset 3", "expected valid UTF-8"});
  expect_failure(run_program({"extract", "--out", out, "--prompt", ""}), 3,
                 {"prompt1", "empty prompt", "expected at least one character"});
  std::string text;
  for (int i = 0; i < 2100; ++i) text += "7";
  expect_failure(run_program({"extract", "--out", out, "--prompt", text}), 3,
                 {"prompt1", "2100 tokens", "expected at most 2048"});
  write_text(directory / "p.jsonl", "{\"input_ids\": [1, 2560]}\n");
  expect_failure(run_program({"extract", "--out", out, "--prompts", directory / "p.jsonl"}), 3,
                 {"prompt1", "token id 2560", "expected 0 to 2559"});
  EXPECT_FALSE(fs::exists(out));
  expect_failure(run_program({"generate", "--", ""}), 3, {"empty prompt"});
  expect_failure(run_program({"generate", "\xff"}), 3, {"0xFF", "offset 0"});
}

TEST(BadPromptFile, NamesFileAndLine) {
  const TemporaryDirectory directory;
  const std::string file = directory / "p.jsonl";
  const std::vector<std::pair<std::string, std::vector<std::string>>> cases = {
      {"{\"text\": \"a\"}\n{", {":2", "not valid JSON"}},
      {"[1]", {":1", "a JSON array"}},
      {"{}", {":1", "none of 'text', 'input_ids' and 'messages'"}},
      {R"({"text": "a", "input_ids": [1]})", {":1", "more than one"}},
      {R"({"text": "a", "messages": []})", {":1", "more than one"}},
      {R"({"messages": []})", {":1", "'messages'", "empty list"}},
      {R"({"messages": [{"role": "user", "content": "a"}]})", {":1", "a conversation", "--chat"}},
      {R"({"text": 1})", {":1", "'text'", "expected a string"}},
      {R"({"input_ids": []})", {":1", "'input_ids'", "empty"}},
      {R"({"input_ids": [1.5]})", {":1", "'input_ids'", "1.5", "integers"}},
      {R"({"id": "../x", "text": "a"})", {":1", "'id'", "../x"}},
      {R"({"id": "..", "text": "a"})", {":1", "'id'"}},
      {"{\"id\": \"a\", \"text\": \"a\"}\n\n{\"id\": \"a\", \"text\": \"b\"}",
       {":3", "duplicate id 'a'"}},
      {"\n\n", {"no prompts"}},
  };
  for (const auto& [text, parts] : cases) {
    write_text(file, text);
    std::vector<std::string> all = parts;
    all.push_back(file);
    expect_failure(run_program({"extract", "--out", directory / "ref", "--prompts", file}), 3, all);
  }
  expect_failure(run_program({"extract", "--prompts", directory / "none.txt"}), 3,
                 {"none.txt", "No such file"});
}

TEST(BadChat, SaysWhatIsWrong) {
  const CheckpointCopy model;  // without tokenizer_config.json
  const TemporaryDirectory directory;
  const std::string out = directory / "ref";
  for (const std::string command : {"extract", "generate", "tokenize"}) {
    std::vector<std::string> words = {command, "--chat", "--model", model.path()};
    if (command == "extract") words.insert(words.end(), {"--out", out, "--prompt"});
    words.push_back("Hello");
    expect_failure(run_program(words), 3,
                   {model.path(), "no chat template", "chat_template.jinja",
                    "tokenizer_config.json", "chat_template.json"});
  }
  write_text(model.file("chat_template.jinja"),
             "{{ raise_exception('nothing but tools') if not tools }}");
  expect_failure(run_program({"extract", "--chat", "--model", model.path(), "--out", out}), 3,
                 {"prompt1", "nothing but tools", "chat_template.jinja"});
  EXPECT_FALSE(fs::exists(out));
  write_text(directory / "c.json", R"([{"role": "user"}, 2])");
  expect_failure(run_program({"generate", "--conversation", directory / "c.json"}), 3,
                 {"c.json[1]", "a JSON number"});
  expect_failure(run_program({"tokenize", "--chat", "--jsonl"}, {.input = "\"a\"\n[]\n"}), 3,
                 {"standard input:2", "empty list"});
  expect_failure(
      run_program({"generate", "--chat", "x"}, {.environment = {{"ASSAY_PYTHON", "none"}}}), 4,
      {"none", "python3-jinja2", "ASSAY_PYTHON"});
}

TEST(BadOutput, DirectoryThatCannotBeMade) {
  const TemporaryDirectory directory;
  write_text(directory / "file", "x");
  const std::string out = directory / "file/ref";
  expect_failure(run_program({"extract", "--out", out}), 4, {out, "cannot create directory"});
  expect_failure(run_program({"extract", "--out", directory / "file"}), 4, {"file"});
  expect_failure(run_program({"synth", "--like", "Qwen3-0.6B", "--out", out}), 4, {out});
}

// Every size at which the disk may be full: in the first file, between files, in the manifest.
TEST(BadOutput, DiskFull) {
  for (const rlim_t limit : {rlim_t{0}, rlim_t{1000}, rlim_t{30000}, rlim_t{60000}}) {
    const TemporaryDirectory directory;
    RunOptions options;
    options.file_size_limit = limit;
    // Standard streams are files here too, and stay below every limit but 0.
    const Result result = run_program({"extract", "--out", directory / "ref", "--json"}, options);
    EXPECT_EQ(result.exit_code, 4) << result.err;
    if (limit > 0) {
      EXPECT_NE(result.err.find("File too large"), std::string::npos) << result.err;
      EXPECT_NE(result.err.find((directory / "ref").string()), std::string::npos) << result.err;
    }
    EXPECT_FALSE(fs::exists(directory / "ref/manifest.json"));
    for (const auto& entry : fs::recursive_directory_iterator(directory / "ref")) {
      if (!entry.is_regular_file()) continue;
      EXPECT_NO_THROW(NpzReader(entry.path()).read("logits")) << entry.path();
    }
  }
}

TEST(BadOutput, StandardOutputThatIsFull) {
  RunOptions options;
  options.out_path = "/dev/full";
  const Result result = run_program({"tokenize", "Hello", "--json"}, options);
  expect_failure(result, 4, {"standard output", "cannot write"});
}

// Killed at many moments: files with a final name are complete, and SIGTERM also tidies up.
TEST(Killed, LeavesNothingHalfWritten) {
  const TemporaryDirectory directory;
  std::string prompts;
  for (int i = 0; i < 40; ++i) prompts += "The capital of France is\n";
  write_text(directory / "p.txt", prompts);
  int killed = 0;
  for (const int signal : {SIGKILL, SIGTERM}) {
    for (useconds_t after = 20'000; after <= 300'000; after += 40'000) {
      const TemporaryDirectory out;
      RunOptions options;
      options.kill_signal = signal;
      options.kill_after_us = after;
      const Result result = run_program(
          {"extract", "--out", out / "ref", "--prompts", directory / "p.txt", "--taps", "*"},
          options);
      killed += result.exit_code == 128 + signal;
      if (!fs::exists(out / "ref")) continue;
      std::size_t npz = 0;
      for (const auto& entry : fs::recursive_directory_iterator(out / "ref")) {
        const std::string name = entry.path().filename();
        if (!entry.is_regular_file()) continue;
        if (name.starts_with(".")) {
          EXPECT_EQ(signal, SIGKILL) << "left behind: " << entry.path();
          continue;
        }
        if (entry.path().extension() == ".npz") {
          EXPECT_NO_THROW(NpzReader(entry.path()).read("rope_sin")) << entry.path();
          ++npz;
        }
      }
      if (fs::exists(out / "ref/manifest.json")) {
        EXPECT_EQ(npz, 40u);
        EXPECT_TRUE(nlohmann::json::accept(read_text(out / "ref/manifest.json")));
      }
    }
  }
  EXPECT_GT(killed, 0) << "every run was over before it was killed";
}

}  // namespace
}  // namespace assay
