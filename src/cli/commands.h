// The commands of the command line, one file each.
#pragma once

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <filesystem>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "assay/error.h"
#include "assay/extract.h"

namespace assay {

// Set by the command that was called; returns the exit code.
using Action = std::function<int()>;

void add_extract(CLI::App& app, Action& action);
void add_capture(CLI::App& app, Action& action);
void add_golden(CLI::App& app, Action& action);
void add_inspect(CLI::App& app, Action& action);
void add_compare(CLI::App& app, Action& action);
void add_diagnose(CLI::App& app, Action& action);
void add_doctor(CLI::App& app, Action& action);
void add_explain(CLI::App& app, Action& action);
void add_generate(CLI::App& app, Action& action);
void add_tokenize(CLI::App& app, Action& action);
void add_synth(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);
void add_completion(CLI::App& app, Action& action);
void add_write_share(CLI::App& app, Action& action);
void add_help(CLI::App& app, Action& action);

// All of them.
void add_commands(CLI::App& app, Action& action);

// Adds --color, which every command has.
void add_color(CLI::App& command);
// Adds --json, with its help, and --color.
void add_common(CLI::App& command, bool& json, std::string_view json_help);
// Adds --model, the checkpoint: the bundled one by default. note: the end of its help.
CLI::Option* add_model(CLI::App& command, std::string& model, std::string_view note = "");
// Adds --threads, all cores by default.
void add_threads(CLI::App& command, int& threads, std::string_view note = "");
// Adds --list, with which the command needs none of its required arguments and options.
void add_list(CLI::App& command, bool& list, std::string_view help);

// The checkpoint that comes with Assay: the installed one, or that of the source tree.
std::filesystem::path bundled_model();

// The checkpoint at `given`: a directory, a GGUF file, or the GGUF file in a directory. The bundled
// model when `given` is empty. Throws an input error when `given` is not a checkpoint.
std::filesystem::path model_directory(const std::string& given);

// Adds --rehash, which hashes the checkpoint's files again instead of using remembered hashes.
void add_rehash(CLI::App& command);

// Adds --prompt and --map: which prompt a dump is of, and how its names map to taps.
void add_dump_names(CLI::App& command, std::string& prompt, std::string& map);
// Warns if the two paths are exchanged: a reference may be compared with another, but an engine's
// dump has no manifest.
void expect_reference_first(std::string_view command, const std::filesystem::path& reference,
                            const std::filesystem::path& candidate);
// Adds --as, the precision to expect of a dump. note: the end of its help.
void add_expected_type(CLI::App& command, std::string& as, std::string_view note = "");

// The options of a command that takes chats.
struct ChatArguments {
  bool apply = false;
  std::vector<std::string> conversations;  // files; one is enough to apply the template
  bool thinking = false;
  bool no_thinking = false;

  bool wanted() const { return apply || !conversations.empty(); }
};
// `chat` must outlive the parsing of the command line.
void add_chat_options(CLI::App& command, ChatArguments& chat);

// Prompts from texts, files and conversations, or the default prompts when none are given. When
// `chat` asks for it, they are rendered with the chat template of the checkpoint in `model`.
std::vector<Prompt> collect_prompts(const std::vector<std::string>& texts,
                                    const std::vector<std::string>& files,
                                    const ChatArguments& chat, const std::filesystem::path& model);
// Renders the prompts with the chat template of the checkpoint in `model`, when `chat` asks for it.
void apply_chat_template(std::vector<Prompt>& prompts, const ChatArguments& chat,
                         const std::filesystem::path& model);

// Writes the whole text, or no file at all; "-" is standard output. Throws system errors.
void write_text_file(const std::string& path, std::string_view text);

// Prints a text to standard output. It may contain names and texts from outside: see for_terminal.
void print(std::string_view text);
// Prints a model's text to standard output: unchanged, but with escapes on a terminal.
void print_text(std::string_view text);
// Prints "assay: KIND: LINE" to standard error: a single line, even where a file's name contains a
// line break, but on a terminal broken between words. kind: "error" or "warning".
void print_error(std::string_view kind, std::string_view line);

// Refuses to overwrite an input, and to write two outputs to the same path (usage errors). written:
// pairs of an option and its path, which may be empty.
void expect_own_outputs(const std::vector<std::pair<std::string_view, std::string>>& written,
                        const std::vector<std::string>& read);

// Throws a usage error when more than one of `written` is "-", standard output, or one is and
// --json is given.
void expect_one_on_stdout(const std::vector<std::pair<std::string_view, std::string>>& written,
                          bool json);

// What --json prints when the command fails.
nlohmann::ordered_json error_json(const Error& error);

// Prints JSON to standard output, indented by two spaces; see json_text.
void print_json(const nlohmann::ordered_json& json);

}  // namespace assay
