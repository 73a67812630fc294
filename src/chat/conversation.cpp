#include <fmt/format.h>

#include "assay/chat.h"
#include "assay/error.h"
#include "base/mapped_file.h"
#include "base/text.h"
#include "base/utf8.h"
#include "formats/json_file.h"

namespace assay {
namespace {

std::string type_of(const OrderedJson& value) {
  return fmt::format("a JSON {}", value.type_name());
}

void check_messages(const OrderedJson& messages, const std::string& where) {
  if (!messages.is_array()) throw input_error(where, type_of(messages), "a list of messages");
  if (messages.empty()) throw input_error(where, "empty list", "at least one message");
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const std::string here = fmt::format("{}[{}]", where, i);
    if (!messages[i].is_object()) throw input_error(here, type_of(messages[i]), "a JSON object");
    const auto role = messages[i].find("role");
    if (role == messages[i].end()) throw input_error(here, "no 'role'", "user, system, ...");
    if (!role->is_string()) throw input_error(field_text(here, "role"), type_of(*role), "a string");
  }
}

}  // namespace

Conversation user_message(std::string_view text, std::string_view where) {
  if (const std::size_t valid = utf8_valid_prefix(text); valid != text.size()) {
    throw input_error(where, fmt::format("invalid UTF-8 at byte {}", valid), "UTF-8");
  }
  const OrderedJson message = {{"role", "user"}, {"content", text}};
  return {OrderedJson::array({message}).dump(), {}, std::string(where)};
}

Conversation parse_conversation(std::string_view json, std::string_view where) {
  const OrderedJson value = parse_json(json, where);
  Conversation conversation;
  conversation.where = where;
  if (!value.is_object()) {
    check_messages(value, conversation.where);
    conversation.messages = value.dump();
    return conversation;
  }
  const auto messages = value.find("messages");
  if (messages == value.end()) {
    throw input_error(where, "no 'messages'", "a list of messages, or an object that has it");
  }
  check_messages(*messages, field_text(conversation.where, "messages"));
  conversation.messages = messages->dump();
  if (const auto tools = value.find("tools"); tools != value.end() && !tools->is_null()) {
    if (!tools->is_array()) {
      throw input_error(field_text(conversation.where, "tools"), type_of(*tools), "a list");
    }
    for (const OrderedJson& tool : *tools) {
      if (!tool.is_object()) {
        throw input_error(field_text(conversation.where, "tools"), type_of(tool), "JSON objects");
      }
    }
    conversation.tools = tools->dump();
  }
  return conversation;
}

Conversation read_conversation(const std::filesystem::path& file) {
  const MappedFile mapped(file);
  return parse_conversation(
      {reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size()}, file.string());
}

}  // namespace assay
