// Prompts from the command line's texts, from text files and from JSONL files.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "assay/chat.h"
#include "assay/error.h"
#include "assay/prompt.h"
#include "base/mapped_file.h"
#include "base/text.h"
#include "formats/json_file.h"
#include "model/checkpoint.h"
#include "tokenizer/tokenizer.h"

namespace assay {
namespace {

// Nested values are not printed, because printing is as recursive as the file is deep.
std::string value_text(const OrderedJson& value) {
  if (value.is_structured()) return fmt::format("a JSON {}", value.type_name());
  return shown(value.dump());
}

Prompt parse_line(std::string_view line, const std::string& where, const std::string& default_id) {
  const OrderedJson object = parse_json(line, where);
  if (!object.is_object()) throw input_error(where, value_text(object), "a JSON object");
  Prompt prompt;
  prompt.id = default_id;
  if (const auto id = object.find("id"); id != object.end()) {
    if (!id->is_string() || !is_prompt_id(id->get_ref<const std::string&>())) {
      throw input_error(field_text(where, "id"), value_text(*id),
                        "a directory's name: letters, digits, '-', '_', '.', at most 100");
    }
    prompt.id = *id;
  }
  const auto text = object.find("text");
  const auto ids = object.find("input_ids");
  const bool is_chat = object.contains("messages");
  const int given = (text != object.end()) + (ids != object.end()) + is_chat;
  if (given != 1) {
    throw input_error(where,
                      fmt::format("{} of 'text', 'input_ids' and 'messages'",
                                  given == 0 ? "none" : "more than one"),
                      "one of them");
  }
  if (is_chat) {
    prompt.conversation = parse_conversation(line, where);
    return prompt;
  }
  if (text != object.end()) {
    if (!text->is_string()) {
      throw input_error(field_text(where, "text"), value_text(*text), "a string");
    }
    prompt.text = *text;
    return prompt;
  }
  if (!ids->is_array()) {
    throw input_error(field_text(where, "input_ids"), value_text(*ids), "a list of token ids");
  }
  for (const OrderedJson& id : *ids) {
    constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max();
    if (!id.is_number_integer() || (id.is_number_unsigned() && id.get<std::uint64_t>() > kMost)) {
      throw input_error(field_text(where, "input_ids"), value_text(id), "integers");
    }
    prompt.input_ids.push_back(id);
  }
  if (prompt.input_ids.empty()) {
    throw input_error(field_text(where, "input_ids"), "empty list", "at least one token id");
  }
  return prompt;
}

}  // namespace

std::vector<Prompt> default_prompts() {
  return prompts_from_texts({"Hello", "The capital of France is", "What is 2+2?"});
}

std::vector<Prompt> prompts_from_texts(const std::vector<std::string>& texts, int first_number) {
  std::vector<Prompt> prompts;
  for (const std::string& text : texts) {
    const int number = first_number + static_cast<int>(prompts.size());
    prompts.push_back({fmt::format("prompt{}", number), text, {}});
  }
  return prompts;
}

std::vector<Prompt> read_prompts(const std::filesystem::path& file, int first_number) {
  const MappedFile mapped(file);
  std::string_view rest(reinterpret_cast<const char*>(mapped.bytes().data()),
                        mapped.bytes().size());
  // A byte order mark, which some Windows editors write, is not part of the text.
  if (rest.starts_with("\xEF\xBB\xBF")) rest.remove_prefix(3);
  const bool jsonl = file.extension() == ".jsonl";
  std::vector<Prompt> prompts;
  std::set<std::string> seen;
  for (int line_number = 1; !rest.empty(); ++line_number) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const std::string where = fmt::format("{}:{}", file.string(), line_number);
    const std::string id = fmt::format("prompt{}", first_number + static_cast<int>(prompts.size()));
    prompts.push_back(jsonl ? parse_line(line, where, id) : Prompt{id, std::string(line), {}});
    if (!seen.insert(prompts.back().id).second) {
      throw input_error(where, "duplicate id '" + prompts.back().id + "'", "unique ids");
    }
  }
  if (prompts.empty()) throw input_error(file.string(), "no prompts", "at least one line");
  return prompts;
}

void render_chats(std::vector<Prompt>& prompts, const std::filesystem::path& model,
                  std::optional<bool> thinking) {
  std::vector<Conversation> conversations;
  std::vector<Prompt*> of;
  for (Prompt& prompt : prompts) {
    if (!prompt.conversation && !prompt.text) continue;
    conversations.push_back(prompt.conversation ? std::move(*prompt.conversation)
                                                : user_message(*prompt.text, prompt.id));
    of.push_back(&prompt);
  }
  if (conversations.empty()) return;
  const std::vector<std::string> texts = load_chat_template(model).render(conversations, thinking);
  const Tokenizer tokenizer = load_tokenizer(model);
  for (std::size_t i = 0; i < of.size(); ++i) {
    of[i]->input_ids = tokenizer.encode(texts[i], of[i]->id);
    of[i]->text = texts[i];
    of[i]->conversation.reset();
  }
}

}  // namespace assay
