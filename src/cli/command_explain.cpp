// assay explain: what a model computes, step by step.
#include <CLI/Option.hpp>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cli/commands.h"
#include "cli/option_values.h"
#include "reference/explain.h"
#include "report/explain_text.h"
#include "report/table.h"

namespace assay {
namespace {

struct ExplainArguments {
  std::string model;
  std::optional<std::int64_t> layer;
  bool json = false;
  bool markdown = false;
};

int run(const ExplainArguments& args) {
  const nlohmann::ordered_json explanation = explain(model_directory(args.model), args.layer);
  if (args.json) {
    print_json(explanation);
  } else if (args.markdown) {
    print(explain_markdown(explanation));
  } else {
    print(explain_text(explanation, wants_color(stdout)));
  }
  return 0;
}

}  // namespace

void add_explain(CLI::App& app, Action& action) {
  auto args = std::make_shared<ExplainArguments>();
  CLI::App* command = app.add_subcommand(
      "explain", "Show what a model computes, step by step, for those who implement it");
  add_model(*command, args->model, "; a config.json is enough");
  take_number(command->add_option("--layer", args->layer,
                                  "Show only this layer (default: each kind of layer once)"),
              0);
  CLI::Option* markdown = command->add_flag("--markdown", args->markdown, "Print Markdown");
  add_common(*command, args->json, "Print JSON");
  command->get_option("--json")->excludes(markdown);
  command->footer(
      "assay explain --model Qwen3-0.6B/config.json\n"
      "assay explain --model Qwen3-0.6B --markdown > qwen3.md");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace assay
