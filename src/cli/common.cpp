// What all commands have in common.
#include <fmt/format.h>

#include <CLI/Option.hpp>
#include <nlohmann/json.hpp>

#include "assay/error.h"
#include "cli/commands.h"
#include "cli/help_text.h"
#include "cli/option_values.h"
#include "report/table.h"

namespace assay {

void add_commands(CLI::App& app, Action& action) {
  add_doctor(app, action);
  add_explain(app, action);
  add_extract(app, action);
  add_capture(app, action);
  add_golden(app, action);
  add_compare(app, action);
  add_diagnose(app, action);
  add_inspect(app, action);
  add_generate(app, action);
  add_tokenize(app, action);
  add_synth(app, action);
  add_bench(app, action);
  add_completion(app, action);
  add_help(app, action);
  add_write_share(app, action);
  for (CLI::App* command : app.get_subcommands(nullptr)) {
    if (!command->get_group().empty()) command->group("Commands");
  }
}

void add_common(CLI::App& command, bool& json, std::string_view json_help) {
  command.add_flag("--json", json, std::string(json_help))->group(kCommonOptions);
  add_color(command);
}

void add_color(CLI::App& command) {
  command.get_help_ptr()->group(kCommonOptions);
  CLI::Option* option = command.add_option_function<std::string>(
      "--color",
      [](const std::string& when) {
        set_color_mode(when == "always"  ? ColorMode::kAlways
                       : when == "never" ? ColorMode::kNever
                                         : ColorMode::kAuto);
      },
      "Use colours; auto: on a terminal, if NO_COLOR is not set");
  take_one_of(option, {"auto", "always", "never"})->group(kCommonOptions);
}

CLI::Option* add_model(CLI::App& command, std::string& model, std::string_view note) {
  return command
      .add_option(
          "--model", model,
          fmt::format("Checkpoint directory, .gguf file, or a model's name in Hugging Face's cache "
                      "(default: the bundled model){}",
                      note))
      ->type_name("PATH");
}

void add_threads(CLI::App& command, int& threads, std::string_view note) {
  take_number(
      command.add_option("--threads", threads, fmt::format("Threads (default: all cores){}", note)),
      1, 1024);
}

void add_list(CLI::App& command, bool& list, std::string_view help) {
  command.add_flag_callback(
      "--list",
      [&command, &list] {
        list = true;
        for (CLI::Option* option : command.get_options()) option->required(false);
      },
      std::string(help));
}

std::string_view kind_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kCheckFailed:
      return "check";
    case ErrorKind::kUsage:
      return "usage";
    case ErrorKind::kInput:
      return "input";
    case ErrorKind::kSystem:
      return "system";
  }
  return "?";
}

nlohmann::ordered_json error_json(const Error& error) {
  return {{"schema", "assay.error/1"},
          {"error",
           {{"kind", kind_name(error.kind())},
            {"exit_code", static_cast<int>(error.kind())},
            {"where", error.where()},
            {"found", error.found()},
            {"expected", error.expected()},
            {"message", error.what()}}}};
}

}  // namespace assay
