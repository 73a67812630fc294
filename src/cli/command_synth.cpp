// assay synth: a random checkpoint with the shape of a real model.
#include <fmt/format.h>

#include <CLI/Option.hpp>
#include <CLI/Validators.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "assay/error.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/lists.h"
#include "cli/option_values.h"
#include "formats/safetensors.h"
#include "model/synth.h"
#include "report/progress.h"
#include "report/table.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

struct SynthArguments {
  SynthOptions options;
  std::string config;
  std::string out;
  std::string tokenizer;
  std::string dtype = "bf16";
  bool list = false;
  bool json = false;
};

int run(const SynthArguments& args) {
  if (args.list) return list_models(args.json);
  SynthOptions options = args.options;
  options.config = args.config;
  options.out = args.out;
  if (options.like.empty() == args.config.empty()) {
    throw usage_error(
        "synth", options.like.empty() ? "neither --like nor --config" : "both --like and --config",
        "one of --like MODEL and --config FILE; --list shows the models");
  }
  options.dtype = args.dtype == "f32"   ? DType::kF32
                  : args.dtype == "f16" ? DType::kF16
                                        : DType::kBF16;
  std::error_code ignored;
  // Any byte-level tokenizer can encode text. The bundled tokenizer's ids fit every real
  // vocabulary.
  options.tokenizer = args.tokenizer.empty() ? bundled_model() / "tokenizer.json"
                      : fs::is_directory(args.tokenizer, ignored)
                          ? fs::path(args.tokenizer) / "tokenizer.json"
                          : fs::path(args.tokenizer);
  {
    ProgressBar bar;
    synthesize(options, [&](double fraction) { bar.update("writing weights", fraction); });
  }
  const Weights weights = Weights::open(options.out);
  if (args.json) {
    nlohmann::ordered_json result = {{"schema", "assay.synth/1"},
                                     {"out", args.out},
                                     {"seed", options.seed},
                                     {"tensors", weights.tensors().size()},
                                     {"bytes", weights.total_bytes()}};
    print_json(result);
  } else {
    print(fmt::format("Wrote {}: {} tensors, {}, seed {}\n", args.out, weights.tensors().size(),
                      bytes_text(weights.total_bytes()), options.seed));
  }
  return 0;
}

}  // namespace

void add_synth(CLI::App& app, Action& action) {
  auto args = std::make_shared<SynthArguments>();
  CLI::App* command =
      app.add_subcommand("synth", "Write a random checkpoint with the shape of a real model");
  command
      ->add_option("--like", args->options.like,
                   "Take the shape of this published model, such as Qwen3-0.6B")
      ->type_name(kTakesModel);
  command->add_option("--config", args->config, "Take the shape from this config.json")
      ->type_name("FILE");
  add_list(*command, args->list, "List the models that --like knows");
  take_number(command->add_option("--seed", args->options.seed, "Seed of the random weights"), 0)
      ->capture_default_str();
  command->add_option("--out", args->out, "Output directory")->required()->type_name("DIR");
  take_one_of(command->add_option("--dtype", args->dtype, "Type of the weights"),
              {"bf16", "f16", "f32"})
      ->capture_default_str();
  take_number(command->add_option("--shards", args->options.shards, "Number of weight files"), 1,
              1000)
      ->capture_default_str();
  command
      ->add_option("--tokenizer", args->tokenizer,
                   "tokenizer.json, or a directory with one (default: the bundled model's)")
      ->type_name("PATH");
  add_common(*command, args->json, "Print what was written as JSON");
  command->footer(
      "assay synth --list\n"
      "assay synth --like Qwen3-0.6B --out random-qwen3");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace assay
