#include "cli/man_pages.h"

#include <fmt/format.h>

#include <CLI/Option.hpp>
#include <algorithm>
#include <vector>

#include "cli/help_text.h"
#include "cli/option_values.h"

namespace assay {
namespace {

// Text as roff: nothing in it is an escape or a request, and hyphens are those of the keyboard.
std::string roff(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '\\') {
      result += "\\e";
    } else if (c == '-') {
      result += "\\-";
    } else if (c == '\'') {
      result += "\\(aq";
    } else if (c == '`') {
      result += "\\(ga";
    } else {
      result += c;
    }
  }
  return (result.starts_with('.') ? "\\&" : "") + result;
}

std::string bold(std::string_view text) { return "\\fB" + roff(text) + "\\fR"; }
std::string italic(std::string_view text) { return "\\fI" + roff(text) + "\\fR"; }

std::string entry(const std::string& title, const std::string& text) {
  return fmt::format(".TP\n{}\n{}\n", title, roff(text));
}

// "--out DIR", with the names bold and the type in italics.
std::string roff_title(const CLI::Option& option) {
  const std::string title = option_title(option);
  if (option.get_positional()) return italic(title);
  const std::size_t type = title.rfind(' ');
  const bool has_type = !is_switch(option) && type != title.npos;
  std::string text;
  std::string names = title.substr(0, has_type ? type : title.size());
  for (std::size_t comma; (comma = names.find(", ")) != names.npos; names.erase(0, comma + 2)) {
    text += bold(names.substr(0, comma)) + ", ";
  }
  text += bold(names);
  return has_type ? text + " " + italic(title.substr(type + 1)) : text;
}

// Separated by blank lines in the text.
std::string paragraphs(std::string_view text) {
  std::string result;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find("\n\n", begin), text.size());
    result +=
        fmt::format("{}{}\n", begin == 0 ? "" : ".PP\n", roff(text.substr(begin, end - begin)));
    begin = end + 2;
  }
  return result;
}

constexpr std::string_view kAbout =
    "Assay computes reference activations of a language model from its checkpoint: every "
    "intermediate tensor of the forward pass, rounded as in HuggingFace transformers, together "
    "with a double-precision oracle. extract writes them, compare finds where an engine's dump "
    "first differs from them, and diagnose names the mistake. inspect shows arrays, and doctor "
    "checks checkpoints.\n\n"
    "With --json every command prints JSON instead of text, also when it fails.";

struct Described {
  const char* name;
  const char* text;
};
constexpr Described kCommands[] = {
    {"doctor",
     "Checks the files of a checkpoint, its config, every tensor, the tokenizer, and whether "
     "memory "
     "and disk suffice; says what to do about what is wrong."},
    {"explain",
     "Prints formulas, taps with their shapes, tensors, and where a BF16 run rounds. A config.json "
     "is enough."},
    {"extract",
     "Writes for each prompt an archive of the model's intermediate tensors (taps), and a manifest "
     "with their shapes, SHA-256 and statistics. With --numerics bf16,f64 it also writes the "
     "double-precision oracle, from which compare knows how large an error may be."},
    {"compare",
     "Finds the first tensor that differs by more than rounding explains. The exit code is 0 if "
     "all arrays pass, 1 if one fails. Names of known engines map to taps by themselves."},
    {"diagnose",
     "Runs each operation on the engine's own inputs, simulates more than a hundred common "
     "mistakes, and names those that reproduce the engine's numbers. The exit code is 0 if nothing "
     "is wrong, 1 if something is."},
    {"inspect",
     "Prints names, types, shapes and statistics of arrays. Of a reference or a directory of dumps "
     "it lists the files, or with NAME the arrays of that name in all of them."},
    {"generate", "Prints the greedy continuation of the text; with --chat, the answer to it."},
    {"tokenize",
     "The ids are those of the tokenizers library. With --jsonl, texts are read from standard "
     "input, a line of JSON each."},
    {"synth",
     "The checkpoint has a real model's config and tensors, with weights drawn from a seed. The "
     "same seed gives the same bytes on every machine."},
    {"bench",
     "Measures each figure alternately with what limits it on this machine (memory, arithmetic), "
     "and prints the ratio."},
    {"completion",
     "For bash, evaluate the output in ~/.bashrc; for zsh, save it as _assay in a directory of "
     "$fpath; for fish, in ~/.config/fish/completions."}};

constexpr Described kExitCodes[] = {
    {"0", "Success; of compare and diagnose also: nothing is wrong."},
    {"1", "A check failed: the arrays diverge, or doctor found a fault."},
    {"2", "Wrong usage."},
    {"3", "Bad input: a file is missing, damaged, or not what was expected."},
    {"4", "System error: the disk is full, or memory ran out."}};
constexpr Described kEnvironment[] = {
    {"NO_COLOR", "If set, no colours, unless --color says otherwise."},
    {"XDG_CACHE_HOME",
     "Hashes of checkpoints are remembered in its assay/hashes; ~/.cache if it is not set."},
    {"ASSAY_SIMD",
     "plain, avx2, avx512, avx512bf16 or neon: use these kernels. The results do not change."}};

}  // namespace

std::string man_page_name(const CLI::App& command) {
  return command.get_parent() == nullptr
             ? command.get_name()
             : fmt::format("{}-{}", man_page_name(*command.get_parent()), command.get_name());
}

std::string man_page(const CLI::App& command) {
  const std::string name = man_page_name(command);
  std::string title = name;
  for (char& c : title) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  const bool is_program = command.get_parent() == nullptr;
  const std::string usage = usage_line(command);
  const std::string called = full_name(command);
  std::string what = command.get_description();
  if (what.ends_with('.')) what.pop_back();
  std::string text = fmt::format(
      ".\\\" Made from the options of the program; do not edit.\n"
      ".TH {} 1 \"\" \"assay {}\" \"Assay\"\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n{}{}\n",
      title, ASSAY_VERSION, roff(name), roff(what), bold(called),
      roff(std::string_view(usage).substr(called.size())));
  text += ".SH DESCRIPTION\n" + paragraphs(is_program ? kAbout : command.get_description() + ".");
  for (const Described& more : kCommands) {
    if (command.get_name() == more.name) text += ".PP\n" + paragraphs(more.text);
  }
  const std::vector<const CLI::App*> commands = shown_commands(command);
  if (!commands.empty()) {
    text += ".SH COMMANDS\n";
    for (const CLI::App* c : commands) text += entry(bold(c->get_name()), c->get_description());
  }
  for (const OptionGroup& group : option_groups(command)) {
    std::string section = group.title;
    for (char& c : section) {
      if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
    }
    text += fmt::format(".SH {}\n", section);
    for (const CLI::Option* option : group.options) {
      text += entry(roff_title(*option), option_text(*option));
    }
  }
  text += ".SH EXIT STATUS\n";
  for (const Described& code : kExitCodes) text += entry(code.name, code.text);
  if (is_program) {
    text += ".SH ENVIRONMENT\n";
    for (const Described& variable : kEnvironment)
      text += entry(bold(variable.name), variable.text);
  }
  if (const std::string examples = command.get_footer(); !examples.empty()) {
    text += ".SH EXAMPLES\n.nf\n";
    for (std::size_t begin = 0; begin < examples.size();) {
      const std::size_t end = std::min(examples.find('\n', begin), examples.size());
      text += roff(std::string_view(examples).substr(begin, end - begin)) + "\n";
      begin = end + 1;
    }
    text += ".fi\n";
  }
  text += ".SH SEE ALSO\n";
  std::vector<std::string> others;
  for (const CLI::App* c : commands) others.push_back(bold(man_page_name(*c)) + "(1)");
  if (!is_program) others.push_back(bold(man_page_name(*command.get_parent())) + "(1)");
  return text + fmt::format("{}\n", fmt::join(others, ",\n"));
}

}  // namespace assay
