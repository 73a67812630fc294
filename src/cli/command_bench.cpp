// assay bench: how fast this machine runs the engine, and how close that is to its limits.
#include <fmt/format.h>
#include <stdlib.h>

#include <CLI/Option.hpp>
#include <CLI/Validators.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "assay/error.h"
#include "base/directory.h"
#include "base/program_path.h"
#include "bench/bench.h"
#include "cli/commands.h"
#include "cli/lists.h"
#include "cli/option_values.h"
#include "model/synth.h"
#include "report/progress.h"
#include "report/table.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

struct BenchArguments {
  std::string model;
  std::string like;
  int threads = 0;
  int runs = 5;
  bool list = false;
  bool json = false;
};

// A temporary directory that is removed with its files.
class Scratch {
 public:
  Scratch() {
    std::error_code error;
    const fs::path parent = fs::temp_directory_path(error);
    if (error) {
      throw usage_error("environment variable TMPDIR", error.message(), "an existing directory");
    }
    std::string name = (parent / "assay-bench-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw system_error(name, "cannot create", errno);
    path_ = name;
  }
  ~Scratch() { remove_tree(path_.c_str()); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::string number(double value) {
  return value >= 100 ? fmt::format("{:.0f}", value) : fmt::format("{:.3g}", value);
}

void print_table(const std::vector<BenchFigure>& figures) {
  using enum Table::Align;
  Table table({{"what"}, {"median", kRight}, {"unit"}, {"runs"}, {"of limit", kRight}, {"limit"}});
  for (const BenchFigure& f : figures) {
    table.add({f.name, number(f.value), f.unit,
               fmt::format("{} to {}", number(f.low), number(f.high)),
               f.limit.empty() ? "" : fmt::format("{:.2f}", f.ratio), f.limit});
  }
  print(table.text());
}

int run(const BenchArguments& args) {
  if (args.list) return list_models(args.json);
  const Scratch scratch;
  BenchOptions options;
  options.scratch = scratch.path();
  options.program = program_path();
  options.threads = args.threads;
  options.runs = args.runs;
  std::vector<BenchFigure> figures;
  {
    ProgressBar bar;
    if (args.like.empty()) {
      options.model = model_directory(args.model);
    } else {
      options.model = scratch.path() / "model";
      SynthOptions synth;
      synth.like = args.like;
      synth.out = options.model;
      synth.tokenizer = bundled_model() / "tokenizer.json";
      synthesize(synth, [&](double fraction) { bar.update("making a checkpoint", fraction); });
    }
    figures =
        bench(options, [&](std::string_view what, double fraction) { bar.update(what, fraction); });
  }
  if (!args.json) {
    print_table(figures);
    return 0;
  }
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const BenchFigure& f : figures) {
    nlohmann::ordered_json figure = {
        {"name", f.name}, {"unit", f.unit}, {"median", f.value}, {"low", f.low}, {"high", f.high}};
    if (!f.limit.empty()) {
      figure["limit"] = f.limit;
      figure["ratio"] = f.ratio;
    }
    list.push_back(std::move(figure));
  }
  const nlohmann::ordered_json result = {
      {"schema", "assay.bench/1"},
      {"model", args.like.empty() ? options.model.string() : args.like},
      {"runs", args.runs},
      {"figures", std::move(list)}};
  print_json(result);
  return 0;
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  auto args = std::make_shared<BenchArguments>();
  CLI::App* command = app.add_subcommand("bench", "Measure speed against this machine's limits");
  CLI::Option* model = add_model(*command, args->model);
  command
      ->add_option("--like", args->like,
                   "Measure a random checkpoint with this published model's shape, such as "
                   "Qwen3-0.6B")
      ->type_name(kTakesModel)
      ->excludes(model);
  add_list(*command, args->list, "List the models that --like knows");
  add_threads(*command, args->threads);
  take_number(command->add_option("--runs", args->runs,
                                  "Number of measurements of each figure, taken in turns"),
              1, 1000)
      ->capture_default_str();
  add_common(*command, args->json, "Print the figures as JSON");
  command->footer(
      "assay bench\n"
      "assay bench --like Qwen3-0.6B --json");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace assay
