// Conversations: what a checkpoint's chat template turns into a prompt.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace assay {

// Becomes a prompt's text in render_chats (assay/extract.h).
struct Conversation {
  std::string messages;  // JSON: a list of objects with "role" and most often "content"
  std::string tools;     // JSON: a list of what the model may call; empty when none are offered
  std::string where;     // names it in messages of errors: "prompts.jsonl:3"
};

// One message, of role "user". Throws an input error where `text` is no UTF-8. where: as
// Conversation::where.
Conversation user_message(std::string_view text, std::string_view where);

// From JSON: a list of messages, or an object with "messages" and maybe "tools", whose other fields
// are not looked at. Throws input errors (no such file, no JSON, no messages).
Conversation parse_conversation(std::string_view json, std::string_view where);
Conversation read_conversation(const std::filesystem::path& file);

}  // namespace assay
