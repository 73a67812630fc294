// assay compare: an engine's arrays against a reference.
#include <fmt/format.h>

#include <CLI/Option.hpp>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "assay/compare.h"
#include "assay/error.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/lists.h"
#include "cli/option_values.h"
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
  bool list = false;
  bool json = false;
};

// An existing file of rules is not overwritten: somebody may have edited it.
int suggest(const CompareArguments& args) {
  if (std::filesystem::exists(args.suggest_map)) {
    throw usage_error("--suggest-map", fmt::format("{} exists already", args.suggest_map),
                      "a new file");
  }
  const MapDraft draft = draft_map(args.options);
  const bool on_stdout = args.suggest_map == "-";
  if (!draft.rules.empty() || on_stdout) {
    write_text_file(args.suggest_map, map_draft_rules(draft));
  }
  if (on_stdout) return 0;
  if (args.json) {
    print_json(map_draft_json(draft));
  } else {
    print(map_draft_text(draft, args.suggest_map));
  }
  return 0;
}

int run(CompareArguments& args) {
  if (args.list) return list_maps(args.json);
  if (!args.html.empty()) expect_html_report();
  args.options.reference = args.reference;
  args.options.candidate = args.candidate;
  expect_one_on_stdout(
      {{"--html", args.html}, {"--junit", args.junit}, {"--suggest-map", args.suggest_map}},
      args.json);
  expect_own_outputs({{"--html", args.html}, {"--junit", args.junit}},
                     {args.reference, args.candidate});
  if (!args.suggest_map.empty()) return suggest(args);
  if (!args.model.empty()) args.options.model = model_directory(args.model);
  if (args.has_tolerance) args.options.tolerance = args.tolerance;
  args.options.details = !args.html.empty();
  expect_reference_first("compare", args.reference, args.candidate);
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
  } else if (args.html != "-" && args.junit != "-") {
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
      ->type_name("PATH")
      ->check(is_given)
      ->required();
  command
      ->add_option("candidate", args->candidate,
                   ".npz, .npy, .safetensors, .pt, a raw dump's .json, a directory of .npy or .pt "
                   "files, or a directory with one of these per prompt")
      ->type_name("PATH")
      ->check(is_given)
      ->required();
  add_dump_names(*command, args->options.prompt, args->options.map);
  add_list(*command, args->list, "List the engines that --map knows");
  command
      ->add_option("--suggest-map", args->suggest_map,
                   "Instead of comparing, draft rules for the unknown names from the arrays' "
                   "values, and write them to this new file; -: print them")
      ->type_name("FILE");
  command
      ->add_option("--profile", args->options.profile,
                   "Limits to judge by: noise, table or a .json file")
      ->type_name(kTakesProfile)
      ->capture_default_str();
  command
      ->add_option("--tolerance", args->tolerance,
                   "Largest relative L2 error of every tap, instead of a profile")
      ->type_name("X")
      ->check([](const std::string& given) {
        char* end = nullptr;
        const double value = std::strtod(given.c_str(), &end);
        if (end != given.c_str() && *end == '\0' && std::isfinite(value) && value >= 0) {
          return std::string();
        }
        return fmt::format("'{}'; expected a number, 0 or more", shown(given));
      })
      ->excludes(command->get_option("--profile"))
      ->each([args](const std::string&) { args->has_tolerance = true; });
  command
      ->add_option("--model", args->model,
                   "Checkpoint: judges each step of the candidate's generated_ids, and shows "
                   "tokens as text in the HTML report")
      ->type_name("PATH");
  add_expected_type(*command, args->options.as, ". f16 and q8 need --model");
  command->add_flag(
      "--strict", args->strict,
      "Exit with 1 if an array is coarse: within BF16's noise, but less accurate than "
      "its own type allows");
  command
      ->add_option("--junit", args->junit,
                   "Also write JUnit XML to this file; -: print it, and nothing else")
      ->type_name("FILE");
  command
      ->add_option("--html", args->html,
                   "Also write an HTML report to this file; -: print it, and nothing else")
      ->type_name("FILE");
  command->add_flag("--all", args->all, "Print a line per array, not per layer");
  add_threads(*command, args->options.threads);
  add_common(*command, args->json, "Print JSON");
  add_rehash(*command);
  command->footer(
      "assay compare reference_data dump\n"
      "assay compare reference_data dump --html report.html --model Qwen3-0.6B\n"
      "assay compare reference_data dump.safetensors --map vLLM --json");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace assay
