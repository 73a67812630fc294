// Chooses the template and its variables; render.py renders it.
#include "chat/chat_template.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "assay/error.h"
#include "base/directory.h"
#include "base/mapped_file.h"
#include "base/text.h"
#include "base/utf8.h"
#include "chat/python.h"
#include "chat/render_script.h"
#include "formats/json_file.h"

namespace assay {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kDefault = "default";

void expect_utf8(std::string_view text, const std::string& where) {
  if (const std::size_t valid = utf8_valid_prefix(text); valid != text.size()) {
    throw input_error(where, fmt::format("invalid UTF-8 at byte {}", valid), "UTF-8");
  }
}

std::string read_template(const fs::path& file) {
  const MappedFile mapped(file);
  std::string text(reinterpret_cast<const char*>(mapped.bytes().data()), mapped.bytes().size());
  expect_utf8(text, file.string());
  return text;
}

// A token's text: a string, or an object with its "content".
const std::string* token_text(const OrderedJson& value) {
  if (value.is_string()) return &value.get_ref<const std::string&>();
  if (!value.is_object()) return nullptr;
  const auto content = value.find("content");
  if (content == value.end() || !content->is_string()) return nullptr;
  return &content->get_ref<const std::string&>();
}

// bos_token, eos_token and the like, and the model's own special tokens.
void read_special_tokens(const OrderedJson& config, std::map<std::string, std::string>& tokens) {
  for (const auto& [name, value] : config.items()) {
    if (!name.ends_with("_token")) continue;
    if (const std::string* text = token_text(value)) tokens[name] = *text;
  }
  const auto extra = config.find("extra_special_tokens");
  if (extra == config.end() || !extra->is_object()) return;
  for (const auto& [name, value] : extra->items()) {
    if (const std::string* text = token_text(value)) tokens[name] = *text;
  }
}

OrderedJson load_object(const fs::path& file) {
  OrderedJson json = load_json(file);
  if (!json.is_object()) {
    throw input_error(file.string(), fmt::format("a JSON {}", json.type_name()), "a JSON object");
  }
  return json;
}

}  // namespace

// "chat_template": a text, a list of {"name", "template"}, or an object of texts by name.
void ChatTemplate::add_json(const fs::path& file) {
  if (!is_there(file)) return;
  const OrderedJson config = load_object(file);
  const auto field = config.find("chat_template");
  if (field == config.end() || field->is_null()) return;
  const std::string where = field_text(file.string(), "chat_template");
  const auto add = [&](const std::string& name, const OrderedJson& text) {
    if (!text.is_string()) {
      throw input_error(where, fmt::format("a JSON {}", text.type_name()),
                        "a template's text, or a list of {\"name\", \"template\"}");
    }
    templates_[name] = {text, where};
  };
  if (field->is_array()) {
    for (const OrderedJson& entry : *field) {
      if (!entry.is_object() || !entry.contains("name") || !entry["name"].is_string() ||
          !entry.contains("template")) {
        throw input_error(where, "an entry without a name and a template",
                          R"({"name": "...", "template": "..."})");
      }
      add(entry["name"], entry["template"]);
    }
  } else if (field->is_object()) {
    for (const auto& [name, text] : field->items()) add(name, text);
  } else {
    add(std::string(kDefault), *field);
  }
}

ChatTemplate ChatTemplate::load(const fs::path& model) {
  ChatTemplate result;
  const fs::path alone = model / "chat_template.jinja";
  if (is_there(alone)) {
    result.templates_[std::string(kDefault)] = {read_template(alone), alone.string()};
  }
  for (const fs::path& path : paths_in(model / "additional_chat_templates")) {
    if (path.extension() != ".jinja") continue;
    result.templates_[path.stem()] = {read_template(path), path.string()};
  }
  const fs::path config = model / "tokenizer_config.json";
  if (result.templates_.empty()) result.add_json(config);
  if (result.templates_.empty()) result.add_json(model / "chat_template.json");
  if (result.templates_.empty()) {
    throw input_error(model.string(), "no chat template",
                      "chat_template.jinja, or a field 'chat_template' in tokenizer_config.json or "
                      "chat_template.json");
  }

  bool knows_added_tokens = false;
  if (is_there(config)) {
    const OrderedJson fields = load_object(config);
    read_special_tokens(fields, result.special_tokens_);
    knows_added_tokens = fields.contains("added_tokens_decoder");
  }
  // Older checkpoints have their special tokens in a separate file.
  if (const fs::path map = model / "special_tokens_map.json";
      !knows_added_tokens && is_there(map)) {
    read_special_tokens(load_object(map), result.special_tokens_);
  }
  return result;
}

ChatTemplate ChatTemplate::of(std::map<std::string, Source> templates,
                              std::map<std::string, std::string> special_tokens) {
  ChatTemplate result;
  result.templates_ = std::move(templates);
  result.special_tokens_ = std::move(special_tokens);
  const std::string& where = result.templates_.begin()->second.where;
  for (const auto& [name, source] : result.templates_) {
    expect_utf8(name, source.where);
    expect_utf8(source.text, source.where);
  }
  for (const auto& [name, text] : result.special_tokens_) {
    expect_utf8(text, fmt::format("{}, {}", where, name));
  }
  return result;
}

const std::string& ChatTemplate::name_for(const Conversation& conversation) const {
  const auto named = [this](std::string_view name) { return templates_.find(std::string(name)); };
  auto found = conversation.tools.empty() ? templates_.end() : named("tool_use");
  if (found == templates_.end()) found = named(kDefault);
  if (found == templates_.end()) {
    std::vector<std::string> names;
    for (const auto& [name, source] : templates_) names.push_back("'" + shown(name) + "'");
    throw input_error(templates_.begin()->second.where,
                      fmt::format("chat templates {}", fmt::join(names, ", ")),
                      "one named 'default'");
  }
  return found->first;
}

std::vector<std::string> ChatTemplate::render(std::span<const Conversation> conversations,
                                              std::optional<bool> thinking) const {
  if (conversations.empty()) return {};
  OrderedJson request = {{"templates", OrderedJson::object()},
                         {"variables", special_tokens_},
                         {"conversations", OrderedJson::array()},
                         {"parent", ::getpid()}};
  if (thinking) request["variables"]["enable_thinking"] = *thinking;
  for (const Conversation& conversation : conversations) {
    const std::string& name = name_for(conversation);
    request["templates"][name] = templates_.at(name).text;
    const auto json = [&](const std::string& text) { return parse_json(text, conversation.where); };
    request["conversations"].push_back(
        {{"template", name},
         {"messages", json(conversation.messages)},
         {"tools", conversation.tools.empty() ? OrderedJson(nullptr) : json(conversation.tools)}});
  }
  const std::string& source = templates_.at(name_for(conversations.front())).where;
  const std::string output = run_python(render_script(), request.dump(), source);
  const OrderedJson answer = OrderedJson::parse(output, nullptr, /*allow_exceptions=*/false);
  if (answer.is_object() && answer.contains("texts")) return answer["texts"];

  if (!answer.is_object() || !answer.contains("error") || !answer.contains("kind")) {
    throw system_error(python_program(), "an invalid answer: " + shown(output));
  }
  const std::string error = shown(answer["error"].get<std::string>(), 300);
  if (answer.value("kind", std::string()) == "jinja2") {
    throw system_error(python_program(), fmt::format("{}; {}", error, kPythonNeeded));
  }
  const Conversation& failed = conversations[answer.value("conversation", std::size_t{0})];
  throw input_error(
      failed.where, error,
      fmt::format("a conversation that {} takes", templates_.at(name_for(failed)).where));
}

}  // namespace assay
