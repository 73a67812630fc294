// assay compare: an engine's arrays against a reference.
#include <fmt/format.h>

#include <CLI/Option.hpp>
#include <CLI/Validators.hpp>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "assay/compare.h"
#include "assay/error.h"
#include "cli/commands.h"
#include "report/compare_report.h"
#include "report/map_draft_report.h"
#include "report/progress.h"
#include "report/table.h"

namespace assay {
namespace {

struct CompareArguments {
  CompareOptions options;
  std::string reference;
  std::string candidate;
  std::string model;
  double tolerance = 0;
  bool has_tolerance = false;
  std::string junit;
  std::string suggest_map;
  std::string html;
  bool all = false;
  bool strict = false;
  bool json = false;
};

// An existing file of rules is not overwritten: somebody may have edited it.
int suggest(const CompareArguments& args) {
  if (std::filesystem::exists(args.suggest_map)) {
    throw usage_error("--suggest-map", fmt::format("{} exists already", args.suggest_map),
                      "a new file");
  }
  const MapDraft draft = draft_map(args.options);
  if (!draft.rules.empty()) write_text_file(args.suggest_map, map_draft_rules(draft));
  if (args.json) {
    print_json(map_draft_json(draft));
  } else {
    print(map_draft_text(draft, args.suggest_map));
  }
  return 0;
}

int run(CompareArguments& args) {
  if (!args.html.empty()) expect_html_report();
  args.options.reference = args.reference;
  args.options.candidate = args.candidate;
  expect_own_outputs({{"--html", args.html}, {"--junit", args.junit}},
                     {args.reference, args.candidate});
  if (args.has_tolerance && !std::isfinite(args.tolerance)) {
    throw usage_error("--tolerance", fmt::format("{}", args.tolerance), "a number");
  }
  if (!args.suggest_map.empty()) return suggest(args);
  if (!args.model.empty()) args.options.model = model_directory(args.model);
  if (args.has_tolerance) args.options.tolerance = args.tolerance;
  args.options.details = !args.html.empty();
  CompareReport report;
  {
    ProgressBar bar;
    report = compare(args.options,
                     [&](std::string_view what, double fraction) { bar.update(what, fraction); });
  }
  if (!args.junit.empty()) write_text_file(args.junit, compare_junit(report));
  if (!args.html.empty()) write_text_file(args.html, compare_html(report));
  if (args.json) {
    print_json(compare_json(report));
  } else {
    print(compare_text(report, args.all, wants_color(stdout)));
  }
  return report.passed && !(args.strict && report.coarse) ? 0 : 1;
}

}  // namespace

void add_compare(CLI::App& app, Action& action) {
  auto args = std::make_shared<CompareArguments>();
  CLI::App* command = app.add_subcommand("compare", "Compare an engine's arrays with a reference");
  command
      ->add_option("reference", args->reference,
                   "A reference_data directory, or a single file of arrays")
      ->required();
  command
      ->add_option("candidate", args->candidate,
                   ".npz, .npy, .safetensors, .pt, a raw dump's .json, a directory of .npy or .pt "
                   "files, or a directory with one of these per prompt")
      ->required();
  add_dump_names(*command, args->options.prompt, args->options.map);
  command->add_option("--suggest-map", args->suggest_map,
                      "Instead of comparing, draft rules for the unknown names from the arrays' "
                      "values, and write them to this new file");
  command
      ->add_option("--profile", args->options.profile,
                   "Limits to judge by: noise, table or a .json file")
      ->capture_default_str();
  command
      ->add_option("--tolerance", args->tolerance,
                   "Largest relative L2 error of every tap, instead of a profile")
      ->check(CLI::NonNegativeNumber)
      ->excludes(command->get_option("--profile"))
      ->each([args](const std::string&) { args->has_tolerance = true; });
  command->add_option(
      "--model", args->model,
      "Checkpoint: judges each step of the candidate's generated_ids, and shows tokens "
      "as text in the HTML report");
  add_expected_type(*command, args->options.as, ". f16 and q8 need --model");
  command->add_flag(
      "--strict", args->strict,
      "Exit with 1 if an array is coarse: within BF16's noise, but less accurate than "
      "its own type allows");
  command->add_option("--junit", args->junit, "Also write JUnit XML to this file");
  command->add_option("--html", args->html, "Also write an HTML report to this file");
  command->add_flag("--all", args->all, "Print a line per array, not per layer");
  command->add_option("--threads", args->options.threads, "Threads (default: all cores)")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--json", args->json, "Print JSON");
  add_rehash(*command);
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace assay
