// assay explain: what a model computes, step by step.
#include <CLI/Option.hpp>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cli/commands.h"
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
  command->add_option("--model", args->model,
                      "Checkpoint directory or .gguf file (default: the bundled model); a "
                      "config.json is enough");
  command->add_option("--layer", args->layer,
                      "Show only this layer (default: each kind of layer once)");
  CLI::Option* json = command->add_flag("--json", args->json, "Print JSON");
  command->add_flag("--markdown", args->markdown, "Print Markdown")->excludes(json);
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace assay
