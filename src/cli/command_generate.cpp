// assay generate: greedy text from a prompt.
#include <fmt/format.h>

#include <CLI/Option.hpp>
#include <CLI/Validators.hpp>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "assay/error.h"
#include "assay/numerics.h"
#include "assay/prompt.h"
#include "cli/commands.h"
#include "cli/option_values.h"
#include "model/checkpoint.h"
#include "model/generate.h"
#include "numerics/numerics.h"
#include "report/progress.h"
#include "tokenizer/tokenizer.h"

namespace assay {
namespace {

struct GenerateArguments {
  std::string model;
  std::optional<std::string> prompt;
  ChatArguments chat;
  std::string numerics = "bf16";
  std::int64_t max_new_tokens = 100;
  int threads = 0;
  bool json = false;
};

// Writes tokens as they come, and keeps back bytes that do not yet form a whole UTF-8 sequence.
class TextStream {
 public:
  void write(const std::string& bytes) {
    pending_ += bytes;
    const std::size_t whole = pending_.size() - incomplete_tail();
    print_text(std::string_view(pending_).substr(0, whole));
    std::fflush(stdout);
    pending_.erase(0, whole);
  }

 private:
  // The number of bytes at the end that start an unfinished UTF-8 sequence.
  std::size_t incomplete_tail() const {
    for (std::size_t back = 1; back <= std::min<std::size_t>(3, pending_.size()); ++back) {
      const auto byte = static_cast<unsigned char>(pending_[pending_.size() - back]);
      if ((byte & 0xC0u) == 0x80u) continue;
      const std::size_t length = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
      return length > back ? back : 0;
    }
    return 0;
  }

  std::string pending_;
};

template <class N>
int run_as(const GenerateArguments& args, const Model& model, const Tokenizer& tokenizer,
           const Prompt& prompt, const Kernels<N>& with = kernels<N>(chosen_simd())) {
  ThreadPool pool(args.threads);
  Executor<N> executor(model, pool, with);
  const std::vector<std::int64_t>& ids = prompt.input_ids;
  const GenerateRequest<N> request{ids};
  TextStream stream;
  // A text is continued; a chat is answered.
  if (!args.json && !args.chat.wanted()) stream.write(*prompt.text);
  const std::vector<Generated> results = generate_greedy<N>(
      executor, model, {&request, 1}, args.max_new_tokens, model.eos_token_ids,
      [&](std::size_t, std::int64_t, std::int64_t id) {
        const bool eos = std::ranges::find(model.eos_token_ids, id) != model.eos_token_ids.end();
        if (!args.json && !eos) stream.write(tokenizer.token_bytes(id));
      });
  const Generated& result = results.front();
  if (!args.json) {
    fmt::print("\n");
    return 0;
  }
  const auto continuation = std::span(result.ids).subspan(ids.size());
  const nlohmann::ordered_json json = {{"schema", "assay.generate/1"},
                                       {"prompt", *prompt.text},
                                       {"input_ids", ids},
                                       {"generated_ids", result.ids},
                                       {"text", tokenizer.decode(continuation)},
                                       {"stopped", result.stopped_by_eos ? "eos" : "length"}};
  print_json(json);
  return 0;
}

Prompt only_prompt(const GenerateArguments& args, const std::filesystem::path& model) {
  const std::size_t given = (args.prompt ? 1 : 0) + args.chat.conversations.size();
  if (given != 1) {
    throw usage_error("generate", given == 0 ? "no prompt" : "more than one prompt",
                      "a text, or a --conversation");
  }
  std::vector<std::string> texts;
  if (args.prompt) texts.push_back(*args.prompt);
  Prompt prompt = collect_prompts(texts, {}, args.chat, model).front();
  if (prompt.text->empty()) throw input_error("prompt", "empty prompt", "at least one character");
  return prompt;
}

int run(const GenerateArguments& args) {
  const std::filesystem::path directory = model_directory(args.model);
  Prompt prompt = only_prompt(args, directory);
  const Model model = [&] {
    ProgressBar bar;
    return load_model(directory, false,
                      [&](double done) { bar.update("dequantising the weights", done); });
  }();
  const Tokenizer tokenizer = load_tokenizer(directory);
  if (prompt.input_ids.empty()) prompt.input_ids = tokenizer.encode(*prompt.text, "prompt", true);
  check_token_ids(prompt.input_ids, model.spec, "prompt");
  return with_numerics(parse_numerics(args.numerics),
                       [&]<class N>(N) { return run_as<N>(args, model, tokenizer, prompt); });
}

}  // namespace

void add_generate(CLI::App& app, Action& action) {
  auto args = std::make_shared<GenerateArguments>();
  CLI::App* command = app.add_subcommand("generate", "Continue a prompt greedily");
  command->add_option("prompt", args->prompt, "Text to continue")->type_name("TEXT");
  add_model(*command, args->model);
  add_chat_options(*command, args->chat);
  take_one_of(command->add_option("--numerics", args->numerics, "How to round"),
              {"bf16", "f32", "f64"})
      ->capture_default_str();
  take_number(command->add_option("--max-new-tokens", args->max_new_tokens,
                                  "Maximum number of tokens to generate"),
              0, std::int64_t{1} << 20)
      ->capture_default_str();
  add_threads(*command, args->threads, "; results are bit-identical");
  add_common(*command, args->json, "Print ids and text as JSON");
  command->footer(
      "assay generate \"The capital of France is\"\n"
      "assay generate --chat \"What is the capital of Italy?\"");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace assay
