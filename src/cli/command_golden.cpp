// assay golden: references small enough for a repository, by Assay's Python package.
#include <CLI/Option.hpp>
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/option_values.h"
#include "cli/python_command.h"

namespace assay {
namespace {

// Only Python uses the values.
struct GoldenArguments {
  std::string model;
  std::string out = "tests/assay_golden";
  std::vector<std::string> prompts;
  std::string prompt_file;
  std::vector<std::string> taps;
  std::string max_bytes = "1M";
  std::int64_t max_new_tokens = 8;
  std::string update;
  int threads = 0;
  bool stream = false;
  bool json = false;
};

}  // namespace

// The options are those of python/assay/_golden_command.py; tests/cli/try_share.sh compares them.
void add_golden(CLI::App& app, Action& action) {
  auto args = std::make_shared<GoldenArguments>();
  CLI::App* command = app.add_subcommand(
      "golden", "Write a reference small enough for a repository (needs the Python package)");
  command
      ->add_option("model", args->model,
                   "Checkpoint, or a reference directory to take a part of (default: the bundled "
                   "model)")
      ->type_name("PATH");
  command->add_option("--out", args->out, "Directory to write")
      ->type_name("DIR")
      ->capture_default_str();
  command->add_option("--prompt", args->prompts, "A prompt; may be repeated (default: four)")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  command->add_option("--prompts", args->prompt_file, "File of prompts: one per line, or .jsonl")
      ->type_name("FILE");
  command
      ->add_option("--taps", args->taps,
                   "Take only arrays with such names, separated by commas (default: what fits)")
      ->type_name("GLOB")
      ->allow_extra_args(false);
  command
      ->add_option("--max-bytes", args->max_bytes,
                   "Largest size of all files together: 300k, 2M, none")
      ->type_name("SIZE")
      ->capture_default_str();
  take_number(command->add_option("--max-new-tokens", args->max_new_tokens,
                                  "Tokens to generate per prompt, greedily"),
              0, std::int64_t{1} << 20)
      ->capture_default_str();
  command->add_option("--update", args->update, "Make the bundle here again, as its manifest says")
      ->type_name("DIR");
  add_threads(*command, args->threads);
  command->add_flag("--stream", args->stream, "Keep at most one layer's weights in memory");
  add_common(*command, args->json, "Print what was written as JSON");
  command->footer(
      "assay golden Qwen3-0.6B --out tests/assay_golden\n"
      "assay golden --update tests/assay_golden");
  command->callback([args, command, &action] {
    action = [args, command] {
      return become_python(*command, {"assay._golden_command", "assay"});
    };
  });
}

}  // namespace assay
