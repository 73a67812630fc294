// assay diagnose: which mistake explains an engine's arrays.
#include <fmt/format.h>

#include <CLI/Option.hpp>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "assay/compare.h"
#include "assay/diagnose.h"
#include "assay/error.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/option_values.h"
#include "report/compare_report.h"
#include "report/diagnose_report.h"
#include "report/progress.h"
#include "report/table.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

struct DiagnoseArguments {
  DiagnoseOptions options;
  std::string model;
  std::string candidate;
  std::string reference;
  std::array<std::string, 2> paths;  // without an option's name, as compare takes them
  std::vector<std::string> texts;
  std::vector<std::string> prompt_files;
  ChatArguments chat;
  std::string html;
  bool list = false;
  bool power = false;
  bool json = false;
};

int list(const DiagnoseArguments& args) {
  const std::vector<Mistake> mistakes = known_mistakes();
  if (args.json) {
    print_json(mistakes_json(mistakes));
  } else {
    print(mistakes_text(mistakes));
  }
  return 0;
}

int power(const DiagnoseArguments& args) {
  std::vector<BlindSpot> spots;
  const std::vector<Prompt> prompts =
      collect_prompts(args.texts, args.prompt_files, args.chat, args.options.model);
  {
    ProgressBar bar;
    spots = find_blind_spots(
        args.options.model, prompts, args.options.threads,
        [&](std::string_view what, double fraction) { bar.update(what, fraction); });
  }
  if (args.json) {
    print_json(power_json(spots, prompts));
  } else {
    print(power_text(spots, prompts, wants_color(stdout)));
  }
  return 0;
}

// Writes the HTML page of the comparison, with the diagnosis in it.
void write_html(const DiagnoseArguments& args, const Diagnosis& diagnosis, ProgressBar& bar) {
  CompareOptions options;
  options.reference = args.options.reference;
  options.candidate = args.options.candidate;
  options.prompt = args.options.prompt;
  options.map = args.options.map;
  options.threads = args.options.threads;
  options.as = args.options.as;
  options.model = args.options.model;
  options.details = true;
  const CompareReport report =
      compare(options, [&](std::string_view what, double fraction) { bar.update(what, fraction); });
  write_text_file(args.html, compare_html(report, diagnose_json(diagnosis)));
}

// The last path is the candidate, unless --candidate is given.
void take_paths(DiagnoseArguments& args) {
  const bool alone = args.paths[1].empty() && !args.paths[0].empty();
  std::error_code ignored;
  if (alone && args.candidate.empty() &&
      fs::exists(fs::path(args.paths[0]) / "manifest.json", ignored)) {
    throw usage_error("diagnose",
                      fmt::format("'{}', a reference, and no candidate", shown(args.paths[0])),
                      "the reference and the arrays that your engine wrote");
  }
  for (const std::string& path : {args.paths[1], args.paths[0]}) {
    if (path.empty()) continue;
    std::string& open = args.candidate.empty() ? args.candidate : args.reference;
    if (!open.empty()) {
      throw usage_error("diagnose", fmt::format("unexpected argument '{}'", shown(path)),
                        "one reference and one candidate");
    }
    open = path;
  }
}

// --list and --power read no dump.
void expect_no_dump(const DiagnoseArguments& args, std::string_view option) {
  for (const std::string* path : {&args.paths[0], &args.candidate, &args.reference}) {
    if (path->empty()) continue;
    throw usage_error(option, fmt::format("also '{}'", shown(*path)),
                      "no dump and no reference: it does not read them");
  }
}

int run(DiagnoseArguments& args) {
  if (args.list) expect_no_dump(args, "--list");
  if (args.power) expect_no_dump(args, "--power");
  if (args.list) return list(args);
  take_paths(args);
  args.options.model = model_directory(args.model);
  if (args.power) return power(args);
  if (args.candidate.empty()) {
    throw usage_error("diagnose", "no --candidate",
                      "the arrays that your engine wrote: --candidate dump; or --power or --list");
  }
  if (!args.reference.empty()) {
    expect_reference_first("diagnose", args.reference, args.candidate);
  }
  if (!args.html.empty()) expect_html_report();
  if (!args.html.empty() && args.reference.empty()) {
    throw usage_error("--html", "no --reference", "the reference that the page compares with");
  }
  expect_one_on_stdout({{"--html", args.html}}, args.json);
  expect_own_outputs({{"--html", args.html}}, {args.reference, args.candidate});
  args.options.candidate = args.candidate;
  args.options.reference = args.reference;
  Diagnosis diagnosis;
  {
    ProgressBar bar;
    diagnosis = diagnose(
        args.options, [&](std::string_view what, double fraction) { bar.update(what, fraction); });
    if (!args.html.empty()) write_html(args, diagnosis, bar);
  }
  if (args.json) {
    print_json(diagnose_json(diagnosis));
  } else if (args.html != "-") {
    print(diagnose_text(diagnosis, wants_color(stdout)));
  }
  const bool good = diagnosis.verdict == DiagnosisVerdict::kCorrect ||
                    diagnosis.verdict == DiagnosisVerdict::kRounding;
  return good ? 0 : 1;
}

}  // namespace

void add_diagnose(CLI::App& app, Action& action) {
  auto args = std::make_shared<DiagnoseArguments>();
  CLI::App* command =
      app.add_subcommand("diagnose", "Name the mistake that explains an engine's arrays");
  command->add_option("REFERENCE", args->paths[0], "As --reference")
      ->type_name("PATH")
      ->check(is_given);
  command->add_option("CANDIDATE", args->paths[1], "As --candidate; the only path is this one")
      ->type_name("PATH")
      ->check(is_given);
  add_model(*command, args->model);
  command
      ->add_option("--candidate", args->candidate,
                   ".npz, .npy, .safetensors, .pt, a raw dump's .json, a directory of .npy or .pt "
                   "files, or a directory with one of these per prompt")
      ->type_name("PATH");
  command
      ->add_option("--reference", args->reference,
                   "A reference_data directory, or a single file of arrays: provides each "
                   "prompt's tokens")
      ->type_name("PATH");
  add_dump_names(*command, args->options.prompt, args->options.map);
  add_expected_type(*command, args->options.as);
  add_threads(*command, args->options.threads);
  command
      ->add_option("--html", args->html,
                   "Also write an HTML report of the comparison with --reference and the "
                   "diagnosis to this file; -: print it, and nothing else")
      ->type_name("FILE");
  command->add_flag(
      "--power", args->power,
      "Show which mistakes the prompts (--text, --prompts) would reveal, and which they would not");
  command->add_option("--text", args->texts, "With --power: a prompt; may be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  command
      ->add_option("--prompts", args->prompt_files,
                   "With --power: file of prompts, as for extract (default: extract's three "
                   "prompts)")
      ->type_name("FILE")
      ->allow_extra_args(false);
  add_chat_options(*command, args->chat);
  add_list(*command, args->list, "List the known mistakes");
  add_common(*command, args->json, "Print JSON");
  add_rehash(*command);
  command->footer(
      "assay diagnose reference_data dump --model Qwen3-0.6B\n"
      "assay diagnose --power --text \"Hello\"\n"
      "assay diagnose --list");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace assay
