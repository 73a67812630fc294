// Conversations: what a checkpoint's chat template turns into a prompt.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace assay {

// Becomes a prompt's text in render_chats (assay/extract.h).
struct Conversation {
  std::string messages;  // JSON: a list of objects with "role" and usually "content"
  std::string tools;     // JSON: a list of what the model may call; empty when there are none
  std::string where;     // names it in error messages: "prompts.jsonl:3"
};

// One message, of role "user". Throws an input error if `text` is not valid UTF-8. where:
// see Conversation::where.
Conversation user_message(std::string_view text, std::string_view where);

// From JSON: a list of messages, or an object with "messages" and optionally "tools"; other fields
// are ignored. Throws input errors (no such file, not JSON, no messages).
Conversation parse_conversation(std::string_view json, std::string_view where);
Conversation read_conversation(const std::filesystem::path& file);

}  // namespace assay
