// assay tokenize: text to token ids and back, for one text or for JSON lines.
#include <fmt/format.h>

#include <CLI/Option.hpp>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>

#include "assay/chat.h"
#include "assay/error.h"
#include "cli/commands.h"
#include "cli/option_values.h"
#include "formats/json_file.h"
#include "model/checkpoint.h"
#include "report/json_text.h"
#include "report/table.h"
#include "tokenizer/tokenizer.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

struct TokenizeArguments {
  std::string model;
  std::vector<std::string> texts;
  std::vector<std::int64_t> ids;
  ChatArguments chat;
  bool decode = false;
  bool jsonl = false;
  bool skip_special = false;
  bool add_special_tokens = false;
  bool json = false;
};

std::string quoted(const std::string& text) { return json_text(nlohmann::json(text), -1); }

std::string ids_text(std::span<const std::int64_t> ids) {
  return fmt::format("[{}]", fmt::join(ids, ", "));
}

// Reads chats from standard input: a JSON string or {"text": ...} is a user message, {"messages":
// ...} is a conversation. One Python process renders them all.
void run_chat_lines(const TokenizeArguments& args, const fs::path& model) {
  std::vector<Prompt> prompts;
  std::string line;
  for (int number = 1; std::getline(std::cin, line); ++number) {
    const std::string where = fmt::format("standard input:{}", number);
    const nlohmann::ordered_json value = parse_json(line, where);
    const bool has_text = value.is_object() && value.contains("text");
    const nlohmann::ordered_json& text = has_text ? value["text"] : value;
    prompts.push_back({where,
                       {},
                       {},
                       text.is_string() ? user_message(text.get_ref<const std::string&>(), where)
                                        : parse_conversation(line, where)});
  }
  apply_chat_template(prompts, args.chat, model);
  for (const Prompt& prompt : prompts) fmt::print("{}\n", ids_text(prompt.input_ids));
}

// Converts standard input line by line: a JSON string or {"text": ...} to a list of ids; with
// --decode a list of ids to a JSON string.
void run_lines(const TokenizeArguments& args, const Tokenizer& tokenizer) {
  std::string line;
  std::string out;
  for (int number = 1; std::getline(std::cin, line); ++number) {
    const std::string where = fmt::format("standard input:{}", number);
    const nlohmann::json value = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (args.decode) {
      if (!value.is_array() || !std::ranges::all_of(value, &nlohmann::json::is_number_integer)) {
        throw input_error(where, "not a JSON list of integers", "a list of token ids");
      }
      out = quoted(tokenizer.decode(value.get<std::vector<std::int64_t>>(), args.skip_special));
    } else {
      const nlohmann::json& text =
          value.is_object() && value.contains("text") ? value["text"] : value;
      if (!text.is_string()) {
        throw input_error(where, "neither a JSON string nor an object with a string 'text'",
                          R"("..." or {"text": "..."})");
      }
      out = ids_text(
          tokenizer.encode(text.get_ref<const std::string&>(), where, args.add_special_tokens));
    }
    out += '\n';
    std::fwrite(out.data(), 1, out.size(), stdout);
  }
}

// A line of JSON for each text.
void print_tokens_json(const std::string& text, const std::vector<std::int64_t>& ids,
                       const Tokenizer& tokenizer) {
  nlohmann::ordered_json tokens = nlohmann::ordered_json::array();
  for (const std::int64_t id : ids) tokens.push_back(tokenizer.token_bytes(id));
  const nlohmann::ordered_json result = {
      {"schema", "assay.tokenize/1"}, {"text", text}, {"ids", ids}, {"tokens", std::move(tokens)}};
  fmt::print("{}\n", json_text(result, -1));
}

void run_decode(const TokenizeArguments& args, const Tokenizer& tokenizer) {
  const std::string text = tokenizer.decode(args.ids, args.skip_special);
  if (args.json) {
    print_tokens_json(text, args.ids, tokenizer);
  } else {
    print_text(text);
    fmt::print("\n");
  }
}

void run_encode(const TokenizeArguments& args, const Tokenizer& tokenizer, const fs::path& model) {
  using enum Table::Align;
  if (args.texts.empty() && args.chat.conversations.empty()) return;
  for (const Prompt& prompt : collect_prompts(args.texts, {}, args.chat, model)) {
    const std::string& text = *prompt.text;
    const std::vector<std::int64_t> ids =
        args.chat.wanted() ? prompt.input_ids
                           : tokenizer.encode(text, "text argument", args.add_special_tokens);
    if (args.json) {
      print_tokens_json(text, ids, tokenizer);
      continue;
    }
    Table table({{"id", kRight}, {"token", kLeft}});
    for (const std::int64_t id : ids) {
      table.add({std::to_string(id), quoted(tokenizer.token_bytes(id))});
    }
    if (args.chat.wanted()) fmt::print("{}\n", quoted(text));
    print(fmt::format("{}\n{}", ids_text(ids), table.text()));
  }
}

int run(const TokenizeArguments& args) {
  const bool given = !(args.texts.empty() && args.ids.empty() && args.chat.conversations.empty());
  if (args.jsonl && given) {
    throw usage_error("--jsonl", "a text or ids on the command line", "only standard input");
  }
  if (!args.jsonl && !given) {
    throw usage_error("tokenize", "nothing to do",
                      "TEXT, --ids ID,ID,..., --conversation FILE or --jsonl");
  }
  if (args.chat.wanted() && args.decode) {
    throw usage_error("--decode", "--chat", "one of them: a chat template needs text, not ids");
  }
  const fs::path model = model_directory(args.model);
  if (args.jsonl && args.chat.wanted()) {
    run_chat_lines(args, model);
    return 0;
  }
  const Tokenizer tokenizer = load_tokenizer(model);
  if (args.jsonl) {
    run_lines(args, tokenizer);
  } else {
    if (!args.ids.empty()) run_decode(args, tokenizer);
    run_encode(args, tokenizer, model);
  }
  return 0;
}

}  // namespace

void add_tokenize(CLI::App& app, Action& action) {
  auto args = std::make_shared<TokenizeArguments>();
  CLI::App* command = app.add_subcommand("tokenize", "Turn text into token ids, or ids into text");
  command->add_option("text", args->texts, "Text to encode")->type_name("TEXT");
  add_model(*command, args->model);
  take_number(command->add_option("--ids", args->ids, "Ids to decode, separated by commas"))
      ->type_name("LIST")
      ->delimiter(',');
  command->add_flag(
      "--jsonl", args->jsonl,
      "Read JSON lines from standard input: strings or {\"text\": ...}; with --chat also "
      "{\"messages\": [...]}");
  add_chat_options(*command, args->chat);
  command->add_flag("--decode", args->decode, "With --jsonl: decode lines that are lists of ids");
  command->add_flag("--add-special-tokens", args->add_special_tokens,
                    "Add the special tokens that the model expects (such as the BOS token of Llama "
                    "and Gemma), as "
                    "extract and generate do");
  command->add_flag("--skip-special", args->skip_special, "Leave out special tokens when decoding");
  add_common(*command, args->json, "Print JSON");
  command->footer(
      "assay tokenize \"Hello, world\"\n"
      "assay tokenize --ids 9707,11,1879 --model Qwen3-0.6B\n"
      "assay tokenize --jsonl --model Qwen3-0.6B < texts.jsonl > ids.jsonl");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace assay
