// assay doctor: checks the machine and a checkpoint.
#include <fmt/format.h>

#include <CLI/Option.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "assay/error.h"
#include "cli/commands.h"
#include "reference/doctor.h"
#include "report/table.h"

namespace assay {
namespace {

struct DoctorArguments {
  std::string model;
  std::string out = "reference_data";
  bool json = false;
};

std::string_view status_name(CheckStatus status) {
  switch (status) {
    case CheckStatus::kOk:
      return "ok";
    case CheckStatus::kWarning:
      return "warning";
    case CheckStatus::kFailed:
      return "failed";
  }
  return "?";
}

void print_checks(const std::vector<Check>& checks) {
  const bool color = wants_color(stdout);
  for (const Check& check : checks) {
    const Color tone = check.status == CheckStatus::kOk        ? Color::kGreen
                       : check.status == CheckStatus::kWarning ? Color::kYellow
                                                               : Color::kRed;
    constexpr std::size_t kIndent = 21;
    std::string text = fmt::format(
        "{}  {:<10}  {}\n", colored(fmt::format("{:<7}", status_name(check.status)), tone, color),
        check.name, check.detail);
    if (!check.remedy.empty()) text += fmt::format("{:<7}  {:<10}  -> {}\n", "", "", check.remedy);
    print(wrapped(text, kIndent));
  }
}

int run(const DoctorArguments& args) {
  const std::filesystem::path directory = model_directory(args.model);
  std::vector<Check> checks = check_machine(args.out);
  for (Check& check : check_checkpoint(directory)) checks.push_back(std::move(check));
  const bool failed =
      std::ranges::any_of(checks, [](const Check& c) { return c.status == CheckStatus::kFailed; });
  if (args.json) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const Check& check : checks) {
      list.push_back({{"name", check.name},
                      {"status", status_name(check.status)},
                      {"detail", check.detail},
                      {"remedy", check.remedy}});
    }
    const nlohmann::ordered_json result = {{"schema", "assay.doctor/1"},
                                           {"model", directory.string()},
                                           {"ok", !failed},
                                           {"checks", std::move(list)}};
    print_json(result);
  } else {
    print(fmt::format("checkpoint {}\n", directory.string()));
    print_checks(checks);
  }
  return failed ? static_cast<int>(ErrorKind::kCheckFailed) : 0;
}

}  // namespace

void add_doctor(CLI::App& app, Action& action) {
  auto args = std::make_shared<DoctorArguments>();
  CLI::App* command = app.add_subcommand("doctor", "Check the machine and a checkpoint");
  add_model(*command, args->model);
  command->add_option("--out", args->out, "Directory that extract would write to")
      ->type_name("DIR")
      ->capture_default_str();
  add_common(*command, args->json, "Print JSON");
  command->footer("assay doctor --model Qwen3-0.6B");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace assay
