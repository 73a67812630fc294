// assay capture: reference activations of any transformers model, by Assay's Python package.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/Option.hpp>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "assay/error.h"
#include "cli/commands.h"
#include "cli/option_values.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAdvice =
    "install Python 3.11 or newer and `pip install numpy torch transformers`; ASSAY_PYTHON may "
    "name an interpreter that has them";

// The package may lie in a source tree or beside the program, where Python does not look.
constexpr const char* kStart = R"(import sys
try:
    from assay.capture.__main__ import main
except ModuleNotFoundError as error:
    message = (f"capture needs the Python package {error.name}: pip install it for {sys.executable}, or name"
               " another interpreter in ASSAY_PYTHON")
    print(f"assay: error: {message}", file=sys.stderr)
    if "--json" in sys.argv:
        import json
        print(json.dumps({"schema": "assay.error/1", "error": {"kind": "system", "exit_code": 4, "where": "",
                          "found": message, "expected": "", "message": message}}, indent=2))
    sys.exit(4)
sys.exit(main())
)";

fs::path own_directory() {
  std::error_code ignored;
  return fs::read_symlink("/proc/self/exe", ignored).parent_path();
}

// $ASSAY_PYTHON, the interpreter of the environment that the program is installed in, or python3.
std::string interpreter() {
  if (const char* named = std::getenv("ASSAY_PYTHON"); named != nullptr && *named != '\0') {
    return named;
  }
  const fs::path beside = own_directory() / "python3";
  return ::access(beside.c_str(), X_OK) == 0 ? beside.string() : "python3";
}

void let_python_find_the_package() {
  const fs::path installed = (own_directory() / ASSAY_PYTHON_FROM_PROGRAM).lexically_normal();
  for (const fs::path& root : {installed, fs::path(ASSAY_SOURCE_PYTHON)}) {
    std::error_code ignored;
    if (!fs::exists(root / "assay" / "capture" / "__main__.py", ignored)) continue;
    const char* before = std::getenv("PYTHONPATH");
    const bool none = before == nullptr || *before == '\0';
    const std::string all = none ? root.string() : fmt::format("{}:{}", before, root.string());
    ::setenv("PYTHONPATH", all.c_str(), 1);
    return;
  }
}

// The options as the Python program takes them. --color is not one of its.
std::vector<std::string> words_of(const CLI::App& command) {
  std::vector<std::string> words;
  std::vector<std::string> positional = {"--"};
  for (const CLI::Option* option : command.get_options()) {
    if (option->count() == 0 || option->check_lname("color")) continue;
    for (const std::string& value : option->results()) {
      if (option->get_positional()) {
        positional.push_back(value);
      } else if (is_switch(*option)) {
        words.push_back(option->get_name());
      } else {
        words.push_back(fmt::format("{}={}", option->get_name(), value));
      }
    }
  }
  words.insert(words.end(), positional.begin(), positional.end());
  return words;
}

// Becomes the Python program.
int run(const CLI::App& command) {
  std::vector<std::string> words = {interpreter(), "-c", kStart};
  for (std::string& word : words_of(command)) words.push_back(std::move(word));
  let_python_find_the_package();
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execvp(argv[0], argv.data());
  throw system_error(words[0], fmt::format("cannot run; {}", kAdvice), errno);
}

// Of the options only Python uses the values.
struct CaptureArguments {
  std::string model;
  std::vector<std::string> prompts;
  std::vector<std::string> prompt_files;
  std::string inputs;
  std::string out = "reference_data";
  std::string runs = "bf16,f64,f32";
  std::vector<std::string> taps;
  std::string map;
  std::string store = "f32";
  std::string compression = "fast";
  int threads = 0;
  bool json = false;
};

}  // namespace

// The options are those of python/assay/capture/__main__.py; tests/cli/try_share.sh compares them.
void add_capture(CLI::App& app, Action& action) {
  auto args = std::make_shared<CaptureArguments>();
  CLI::App* command = app.add_subcommand(
      "capture", "Write reference activations of any transformers model (needs Python and torch)");
  command->add_option("model", args->model, "Checkpoint directory")->required()->type_name("DIR");
  command->add_option("--prompt", args->prompts, "A prompt; may be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  command
      ->add_option("--prompts", args->prompt_files,
                   "File of prompts: one per line, or .jsonl with \"text\" or \"input_ids\"")
      ->type_name("FILE")
      ->allow_extra_args(false);
  command
      ->add_option("--inputs", args->inputs,
                   "An .npz of further arguments of the model's forward pass, by name: "
                   "pixel_values, input_features, decoder_input_ids, attention_mask, ...")
      ->type_name("FILE");
  command->add_option("--out", args->out, "Output directory")
      ->type_name("DIR")
      ->capture_default_str();
  command
      ->add_option("--runs", args->runs,
                   "bf16, f64, f32: the first is the reference, a later f64 is its oracle, a later "
                   "f32 tells how far an FP32 engine may be off")
      ->type_name("LIST")
      ->capture_default_str();
  command
      ->add_option("--taps", args->taps,
                   "Record only arrays with such names; may be repeated (default: all)")
      ->type_name("GLOB")
      ->allow_extra_args(false);
  command
      ->add_option("--map", args->map,
                   "Rules for names: {\"transformer.h.{layer}.attn\": "
                   "\"layer_{layer}_attn_output\", ...}")
      ->type_name("FILE");
  take_one_of(command->add_option("--store", args->store, "Type of the oracle"), {"f32", "f64"})
      ->capture_default_str();
  take_one_of(command->add_option("--compression", args->compression, "Compression of the files"),
              {"none", "fast", "small"})
      ->capture_default_str();
  take_number(command->add_option("--threads", args->threads, "Threads (default: torch's)"), 1,
              1024);
  add_common(*command, args->json, "Print what was written as JSON");
  command->footer(
      "assay capture Phi-2 --prompt \"The capital of France is\"\n"
      "assay capture whisper-tiny --inputs features.npz --out reference_whisper");
  command->callback(
      [args, command, &action] { action = [args, command] { return run(*command); }; });
}

}  // namespace assay
