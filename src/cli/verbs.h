// The verbs of the command line, one file each.
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

#include "assay/extract.h"

namespace assay {

// Set by the verb that was called; returns the exit code.
using Action = std::function<int()>;

void add_extract(CLI::App& app, Action& action);
void add_inspect(CLI::App& app, Action& action);
void add_compare(CLI::App& app, Action& action);
void add_diagnose(CLI::App& app, Action& action);
void add_doctor(CLI::App& app, Action& action);
void add_explain(CLI::App& app, Action& action);
void add_generate(CLI::App& app, Action& action);
void add_tokenize(CLI::App& app, Action& action);
void add_synth(CLI::App& app, Action& action);
void add_bench(CLI::App& app, Action& action);

// The checkpoint that comes with Assay: beside the program when installed, else in the source tree.
std::filesystem::path bundled_model();

// `given` as a checkpoint (a directory, or the GGUF file that it is or has), or the bundled model
// where it is empty. Throws an input error when it is none.
std::filesystem::path model_directory(const std::string& given);

// --rehash: the checkpoint's files are hashed anew, whatever is remembered of them.
void add_rehash(CLI::App& verb);

// The options of a verb that takes chats.
struct ChatArguments {
  bool apply = false;
  std::vector<std::string> conversations;  // files; one is enough to apply the template
  bool thinking = false;
  bool no_thinking = false;

  bool wanted() const { return apply || !conversations.empty(); }
};
// chat must outlive the parsing.
void add_chat_options(CLI::App& verb, ChatArguments& chat);

// Prompts from texts, files and conversations; the default ones where there are none. Where chats
// are wanted, they went through the template of the checkpoint in `model`.
std::vector<Prompt> collect_prompts(const std::vector<std::string>& texts,
                                    const std::vector<std::string>& files,
                                    const ChatArguments& chat, const std::filesystem::path& model);
// The template's part of it.
void apply_chat_template(std::vector<Prompt>& prompts, const ChatArguments& chat,
                         const std::filesystem::path& model);

// The whole text, or no file at all. Throws system errors.
void write_text_file(const std::string& path, std::string_view text);

// A text to standard output. Names and texts from outside may stand in it: see for_terminal.
void print(std::string_view text);
// What a model wrote, to standard output: as it is, but on a terminal harmless.
void print_text(std::string_view text);
// A line to standard error.
void print_error(std::string_view line);

// Refuses to write over what is read, and two outputs to one path (usage errors). written: pairs of
// an option and its path, which may be empty.
void expect_own_outputs(const std::vector<std::pair<std::string_view, std::string>>& written,
                        const std::vector<std::string>& read);

// To standard output, indented by two spaces; see json_text.
void print_json(const nlohmann::ordered_json& json);

}  // namespace assay
