// Prompts: texts, token ids or conversations.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "assay/chat.h"

namespace assay {

// What the model is run on: a text, ids, or a conversation.
struct Prompt {
  std::string id;                       // names the prompt's directory
  std::optional<std::string> text;      // UTF-8; none when given as ids
  std::vector<std::int64_t> input_ids;  // filled from `text` by the tokenizer where empty
  // A chat that is not rendered yet: see render_chats.
  std::optional<Conversation> conversation = {};
};

// The three prompts of the classic reference set: prompt1, prompt2, prompt3.
std::vector<Prompt> default_prompts();

// Prompts from texts, numbered prompt1, prompt2, ... from `first_number` on.
std::vector<Prompt> prompts_from_texts(const std::vector<std::string>& texts, int first_number = 1);

// Reads a file of prompts. A name that ends in .jsonl: one JSON object per line with "text" or
// "input_ids", and optionally "id" (letters, digits, '-', '_', '.'; unique). Any other: one prompt
// per line. Empty lines are skipped. A line with "messages" (and optionally "tools") instead of
// "text" is a conversation. Throws an input error with file and line.
std::vector<Prompt> read_prompts(const std::filesystem::path& file, int first_number = 1);

// Renders prompts as chats: the chat template gets a prompt's conversation, or its text as a single
// user message. `text` becomes the rendered text, `input_ids` its tokens with nothing added.
// Prompts given as ids stay unchanged. thinking: the template's variable enable_thinking, if it has
// one. Throws input errors (no template, one that cannot be rendered, a conversation that it
// refuses) and a system error where Python or Jinja2 is missing.
void render_chats(std::vector<Prompt>& prompts, const std::filesystem::path& model,
                  std::optional<bool> thinking = {});

}  // namespace assay
