// assay capture: reference activations of any transformers model, by Assay's Python package.
#include <CLI/Option.hpp>
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/option_values.h"
#include "cli/python_command.h"

namespace assay {
namespace {

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
  command->callback([args, command, &action] {
    action = [args, command] {
      return become_python(*command,
                           {"assay.capture.__main__", "numpy torch transformers", "capture"});
    };
  });
}

}  // namespace assay
