// assay extract: reference activations of prompts, written to disk.
#include <fmt/format.h>

#include <CLI/Option.hpp>
#include <CLI/Validators.hpp>
#include <nlohmann/json.hpp>

#include "assay/diagnose.h"
#include "assay/error.h"
#include "assay/extract.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/lists.h"
#include "cli/option_values.h"
#include "report/progress.h"
#include "report/table.h"

namespace assay {
namespace {

struct ExtractArguments {
  std::string model;
  std::vector<std::string> prompts;
  std::vector<std::string> prompt_files;
  std::string out = "reference_data";
  std::vector<std::string> numerics = {"bf16"};
  std::vector<std::string> taps;
  std::int64_t max_new_tokens = 20;
  std::string store = "f32";
  std::string compression = "fast";
  int threads = 0;
  bool stream = false;
  bool blind_spots = false;
  ChatArguments chat;
  bool list = false;
  bool json = false;
};

std::vector<Numerics> all_numerics(const ExtractArguments& args) {
  std::vector<Numerics> all;
  for (const std::string& name : args.numerics) {
    all.push_back(parse_numerics(name));
    if (std::count(all.begin(), all.end(), all.back()) > 1) {
      throw usage_error("--numerics", "'" + name + "' given twice", "each at most once");
    }
  }
  return all;
}

nlohmann::ordered_json to_json(const ExtractedPrompt& e) {
  nlohmann::ordered_json files = nlohmann::ordered_json::array();
  for (const ExtractedFile& file : e.files) {
    files.push_back(
        {{"role", file.role}, {"path", file.path}, {"bytes", file.bytes}, {"arrays", file.arrays}});
  }
  return {
      {"id", e.prompt.id},
      {"text", e.prompt.text ? nlohmann::ordered_json(*e.prompt.text) : nullptr},
      {"input_ids", e.prompt.input_ids},
      {"generated_ids", e.generated_ids},
      {"generated_text", e.generated_text ? nlohmann::ordered_json(*e.generated_text) : nullptr},
      {"stopped", e.stopped_by_eos ? "eos" : "length"},
      {"files", std::move(files)}};
}

// The quoted text in one line, or the ids where there is no text. Long ones are cut.
std::string in_one_line(const std::optional<std::string>& text, std::span<const std::int64_t> ids) {
  return shown(text ? nlohmann::json(*text).dump() : nlohmann::json(ids).dump(), 300);
}

void print_table(const std::string& out, const std::vector<ExtractedPrompt>& prompts) {
  using enum Table::Align;
  Table table(
      {{"file"}, {"tokens", kRight}, {"new", kRight}, {"arrays", kRight}, {"size", kRight}});
  for (const ExtractedPrompt& e : prompts) {
    for (const ExtractedFile& file : e.files) {
      const std::size_t tokens = e.prompt.input_ids.size();
      table.add({file.path, std::to_string(tokens), std::to_string(e.generated_ids.size() - tokens),
                 std::to_string(file.arrays), bytes_text(file.bytes)});
    }
  }
  print(table.text() + "\n");
  const bool color = wants_color(stdout);
  for (const ExtractedPrompt& e : prompts) {
    const auto ids = std::span(e.generated_ids).subspan(e.prompt.input_ids.size());
    const std::string text =
        fmt::format("{}  {}\n  {} {}{}\n", colored(e.prompt.id, Color::kBold, color),
                    in_one_line(e.prompt.text, e.prompt.input_ids),
                    colored("->", Color::kDim, color), in_one_line(e.generated_text, ids),
                    e.stopped_by_eos ? colored("  (end of text)", Color::kDim, color) : "");
    print(wrapped(text, 5));
  }
  print(wrapped(fmt::format("\nWritten to {}; manifest.json lists every array with "
                            "shape, SHA-256 and statistics.\n",
                            out),
                2));
}

int run(const ExtractArguments& args) {
  if (args.list) return list_taps(model_directory(args.model), args.json);
  ExtractOptions options;
  options.model = model_directory(args.model);
  options.out = args.out;
  options.numerics = all_numerics(args);
  options.taps = args.taps;
  options.max_new_tokens = args.max_new_tokens;
  options.store = args.store == "f64" ? DType::kF64 : DType::kF32;
  options.compression = args.compression == "none"    ? Compression::kNone
                        : args.compression == "small" ? Compression::kSmall
                                                      : Compression::kFast;
  options.threads = args.threads;
  options.stream = args.stream;
  const std::vector<Prompt> prompts =
      collect_prompts(args.prompts, args.prompt_files, args.chat, options.model);
  std::vector<std::string> warnings;
  options.on_warning = [&](const std::string& warning) { warnings.push_back(warning); };
  std::vector<ExtractedPrompt> extracted;
  {
    ProgressBar bar;
    const auto progress = [&](std::string_view what, double fraction) {
      bar.update(what, fraction);
    };
    if (args.blind_spots) {
      options.blind_spots.emplace();
      for (const BlindSpot& spot :
           find_blind_spots(options.model, prompts, args.threads, progress)) {
        if (spot.is_blind()) options.blind_spots->push_back({spot.id, spot.name, spot.common});
      }
    }
    extracted = extract(options, prompts, progress);
  }
  for (const std::string& warning : warnings) {
    print_error("warning", warning);
  }
  if (!args.json) {
    print_table(args.out, extracted);
    return 0;
  }
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const ExtractedPrompt& e : extracted) list.push_back(to_json(e));
  print_json({{"schema", "assay.extract/1"},
              {"out", args.out},
              {"prompts", std::move(list)},
              {"warnings", warnings}});
  return 0;
}

}  // namespace

void add_extract(CLI::App& app, Action& action) {
  auto args = std::make_shared<ExtractArguments>();
  CLI::App* command = app.add_subcommand("extract", "Write reference activations for prompts");
  add_model(*command, args->model);
  command->add_option("--prompt", args->prompts, "A prompt; may be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  command
      ->add_option(
          "--prompts", args->prompt_files,
          "File of prompts: one per line, or .jsonl with \"text\", \"input_ids\" or \"messages\"")
      ->type_name("FILE")
      ->allow_extra_args(false);
  add_chat_options(*command, args->chat);
  command->add_option("--out", args->out, "Output directory")
      ->type_name("DIR")
      ->capture_default_str();
  command
      ->add_option("--numerics", args->numerics,
                   "bf16, f32, f64: the first is the reference, a later f64 is its oracle")
      ->type_name("LIST")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->capture_default_str();
  command
      ->add_option("--taps", args->taps,
                   "Glob of more taps (named tensors inside the model) to record, e.g. "
                   "'layer_03_*'; may be repeated")
      ->type_name(kTakesTaps)
      ->delimiter(',')
      ->allow_extra_args(false);
  add_list(*command, args->list, "List the model's taps with their shapes; extract nothing");
  take_number(command->add_option("--max-new-tokens", args->max_new_tokens,
                                  "Tokens to generate per prompt, greedily"),
              0, std::int64_t{1} << 20)
      ->capture_default_str();
  take_one_of(command->add_option("--store", args->store, "Type in which activations are stored"),
              {"f32", "f64"})
      ->capture_default_str();
  take_one_of(command->add_option("--compression", args->compression, "Compression of the files"),
              {"none", "fast", "small"})
      ->capture_default_str();
  add_threads(*command, args->threads, "; results are bit-identical");
  command->add_flag(
      "--stream", args->stream,
      "Read the weights from disk for every token, one layer at a time, and keep none in memory; "
      "results are bit-identical (default when the checkpoint exceeds half of the memory)");
  command->add_flag("--blind-spots", args->blind_spots,
                    "Find the mistakes that these prompts would not reveal, and list them in the "
                    "manifest (see assay diagnose --power)");
  add_common(*command, args->json, "Print what was written as JSON");
  add_rehash(*command);
  command->footer(
      "assay extract --model Qwen3-0.6B --numerics bf16,f64\n"
      "assay extract --taps 'layer_03_*' --prompt \"Once upon a time\"\n"
      "assay extract --list");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace assay
