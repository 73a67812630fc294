#include "chat/chat_template.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <nlohmann/json.hpp>

#include "base/expect_error.h"
#include "base/temporary_directory.h"

namespace assay {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Templates in the styles of the families, not copied from them.
constexpr auto kQwen = R"({%- if tools %}
    {{- '<|im_start|>system\n# Tools\n' }}
    {%- for tool in tools %}
        {{- "\n" }}{{ tool | tojson }}
    {%- endfor %}
    {{- '<|im_end|>\n' }}
{%- endif %}
{%- set ns = namespace(last=-1) %}
{%- for message in messages[::-1] %}
    {%- if ns.last < 0 and message.role == 'user' %}{% set ns.last = messages|length - 1 - loop.index0 %}{% endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == 'assistant' and '</think>' in content and loop.index0 < ns.last %}
        {%- set content = content.split('</think>')[-1].lstrip('\n') %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\n' + content + '<|im_end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\n\n</think>\n\n' }}
    {%- endif %}
{%- endif %})";

constexpr auto kLlama = R"({{- bos_token }}
{%- set day = strftime_now("%d %b %Y") if strftime_now is defined else "none" %}
{{- "<|start_header_id|>system<|end_header_id|>\n\nToday Date: " + day + "<|eot_id|>" }}
{%- for m in messages %}
    {{- "<|start_header_id|>" + m['role'] + "<|end_header_id|>\n\n" + m['content'] | trim + "<|eot_id|>" }}
{%- endfor %}
{%- if add_generation_prompt %}{{ "<|start_header_id|>assistant<|end_header_id|>\n\n" }}{% endif %})";

constexpr auto kGemma = R"({{ bos_token }}
{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system role here') }}{% endif %}
{% for m in messages %}
    {% set role = 'model' if m['role'] == 'assistant' else m['role'] %}
{{ '<start_of_turn>' + role + '
' + m['content'] | trim + '<end_of_turn>
' }}{% endfor %}
{% if add_generation_prompt %}{{'<start_of_turn>model
'}}{% endif %}
)";

constexpr auto kMistral =
    R"({{ bos_token }}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}{% generation %}{{ ' ' + m.content + eos_token }}{% endgeneration %}{% endif %}{% endfor %})";

class ChatTemplates : public testing::Test {
 protected:
  // A checkpoint with this template and these fields.
  fs::path with(std::string_view text, Json fields = Json::object()) const {
    fields["chat_template"] = text;
    write_text(directory_ / "tokenizer_config.json", fields.dump());
    return directory_.path();
  }
  static std::string render(const fs::path& model, const std::string& conversation,
                            std::optional<bool> thinking = {}) {
    const Conversation c = parse_conversation(conversation, "chat");
    return ChatTemplate::load(model).render({&c, 1}, thinking).front();
  }
  std::string render(std::string_view text) const {
    return render(with(text), R"([{"role": "user", "content": "hi"}])");
  }
  TemporaryDirectory directory_;
};

TEST_F(ChatTemplates, ThinkingIsSetOnlyWhenAsked) {
  const fs::path model = with(kQwen);
  const std::string chat = R"([{"role": "user", "content": "hi"}])";
  const std::string open = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n";
  EXPECT_EQ(render(model, chat), open);
  EXPECT_EQ(render(model, chat, true), open);
  EXPECT_EQ(render(model, chat, false), open + "<think>\n\n</think>\n\n");
  EXPECT_EQ(render(with("{{ enable_thinking is defined }}"), chat), "False");
  EXPECT_EQ(render(with("{{ enable_thinking }}"), chat, true), "True");
}

TEST_F(ChatTemplates, RunsSlicesNamespacesAndMethods) {
  EXPECT_EQ(render(with(kQwen), R"({"tools": [{"type": "function", "name": "é<"}], "messages": [
    {"role": "system", "content": "s"}, {"role": "user", "content": "1"},
    {"role": "assistant", "content": "<think>\nx\n</think>\n\n2"},
    {"role": "user", "content": "3"}, {"role": "assistant", "content": null}]})"),
            "<|im_start|>system\n# Tools\n\n{\"type\": \"function\", \"name\": \"é<\"}<|im_end|>\n"
            "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\n1<|im_end|>\n"
            "<|im_start|>assistant\n2<|im_end|>\n<|im_start|>user\n3<|im_end|>\n"
            "<|im_start|>assistant\n<|im_end|>\n<|im_start|>assistant\n");
}

TEST_F(ChatTemplates, KnowTheDate) {
  const fs::path model =
      with(kLlama, {{"bos_token", {{"content", "<|begin_of_text|>"}, {"lstrip", false}}}});
  const auto expected = [] {
    char day[32];
    const std::time_t now = std::time(nullptr);
    std::strftime(day, sizeof day, "%d %b %Y", std::localtime(&now));
    return fmt::format(
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nToday Date: {}<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        day);
  };
  const std::string before = expected();
  const std::string text = render(model, R"([{"role": "user", "content": " hi \n"}])");
  EXPECT_TRUE(text == before || text == expected()) << text;  // midnight may pass in between
}

TEST_F(ChatTemplates, MayRefuse) {
  const fs::path gemma = with(kGemma, {{"bos_token", "<bos>"}});
  EXPECT_EQ(render(gemma, R"([{"role": "user", "content": "hi "},
                              {"role": "assistant", "content": "yo"}])"),
            "<bos>\n<start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\nyo<end_of_turn>\n"
            "<start_of_turn>model\n");
  expect_error(ErrorKind::kInput, {"chat:", "no system role here", "tokenizer_config.json"}, [&] {
    render(gemma, R"([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}])");
  });

  const fs::path mistral = with(kMistral, {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
  EXPECT_EQ(render(mistral, R"([{"role": "user", "content": "a"},
                {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}])"),
            "<s>[INST] a [/INST] b</s>[INST] c [/INST]");
  // The error names the second of three.
  const std::vector<Conversation> chats = {user_message("a", "first"),
                                           parse_conversation(R"([{"role": "tool"}])", "second"),
                                           user_message("c", "third")};
  expect_error(ErrorKind::kInput, {"second:", "roles must alternate"},
               [&] { ChatTemplate::load(mistral).render(chats); });
}

TEST_F(ChatTemplates, SeeMessagesAsTransformersPassesThem) {
  const fs::path model = with("{{ messages[0] | tojson }}");
  EXPECT_EQ(
      render(model, R"([{"role": "assistant", "content": null, "reasoning": "so"}])"),
      R"({"thinking": "so", "role": "assistant", "reasoning": "so", "reasoning_content": "so"})");
  EXPECT_EQ(render(model, R"([{"role": "user", "n": 1e16, "big": 9007199254740993, "x": 1.0}])"),
            R"({"role": "user", "n": 1e+16, "big": 9007199254740993, "x": 1.0})");
  EXPECT_EQ(render(with("{{ tools }}{{ documents }}{{ undefined }}"), R"([{"role": "user"}])"),
            "NoneNone");
}

TEST_F(ChatTemplates, KeepEveryCharacter) {
  // Characters that JSON, a shell or Jinja might interpret.
  const std::string text = "\u00e9\u4f60\U0001F600 \r\n\t\"\\ $(x) `y` {{ 1 }} {% if %} \u2028";
  const Conversation chat = user_message(text, "chat");
  const auto model = ChatTemplate::load(with("{{ messages[0].content }}"));
  EXPECT_EQ(model.render({&chat, 1}).front(), text);
  // Much more than a pipe's buffer, in and out.
  const Conversation large = user_message(std::string(5'000'000, 'x'), "chat");
  EXPECT_EQ(model.render({&large, 1}).front().size(), 5'000'000u);
  expect_error(ErrorKind::kInput, {"chat", "invalid UTF-8 at byte 1"},
               [] { user_message("a\xff", "chat"); });
}

TEST_F(ChatTemplates, FilesHaveTheirOrder) {
  const std::string chat = R"([{"role": "user"}])";
  const std::string with_tools = R"({"messages": [{"role": "user"}], "tools": [{"name": "t"}]})";
  expect_error(ErrorKind::kInput,
               {directory_.path().native(), "no chat template", "chat_template.jinja",
                "tokenizer_config.json", "chat_template.json"},
               [&] { ChatTemplate::load(directory_.path()); });
  write_text(directory_ / "chat_template.json", R"({"chat_template": "last {{ bos_token }}"})");
  EXPECT_EQ(render(directory_.path(), chat), "last ");
  write_text(directory_ / "special_tokens_map.json", R"({"bos_token": "<map>"})");
  EXPECT_EQ(render(directory_.path(), chat), "last <map>");

  with("one {{ bos_token }}",
       {{"bos_token", "<config>"}, {"added_tokens_decoder", Json::object()}});
  EXPECT_EQ(render(directory_.path(), chat), "one <config>");
  EXPECT_EQ(render(directory_.path(), with_tools), "one <config>");
  const Json named = {{{"name", "default"}, {"template", "plain"}},
                      {{"name", "tool_use"}, {"template", "tools"}}};
  write_text(directory_ / "tokenizer_config.json", Json({{"chat_template", named}}).dump());
  EXPECT_EQ(render(directory_.path(), chat), "plain");
  EXPECT_EQ(render(directory_.path(), with_tools), "tools");

  write_text(directory_ / "chat_template.jinja", "alone\n");
  EXPECT_EQ(render(directory_.path(), with_tools), "alone");
  fs::create_directory(directory_ / "additional_chat_templates");
  write_text(directory_ / "additional_chat_templates/tool_use.jinja", "more");
  EXPECT_EQ(render(directory_.path(), with_tools), "more");
  EXPECT_EQ(render(directory_.path(), chat), "alone");
  fs::remove(directory_ / "chat_template.jinja");
  expect_error(ErrorKind::kInput, {"'tool_use'", "default"},
               [&] { render(directory_.path(), chat); });
}

TEST_F(ChatTemplates, MistakesInFilesAreNamed) {
  for (const auto& [config, part] : std::vector<std::pair<std::string, std::string>>{
           {R"({"chat_template": 1})", "a JSON number"},
           {R"({"chat_template": [{"name": "default"}]})", "without a name and a template"},
           {R"({"chat_template": {"default": []}})", "a JSON array"},
           {R"([])", "a JSON array"},
           {R"({)", "not valid JSON"}}) {
    write_text(directory_ / "tokenizer_config.json", config);
    expect_error(ErrorKind::kInput, {"tokenizer_config.json", part},
                 [&] { ChatTemplate::load(directory_.path()); });
  }
  write_text(directory_ / "chat_template.jinja", "a\xff");
  expect_error(ErrorKind::kInput, {"chat_template.jinja", "invalid UTF-8 at byte 1"},
               [&] { ChatTemplate::load(directory_.path()); });
}

TEST_F(ChatTemplates, MistakesInTemplatesAreNamed) {
  for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
           {"x\n{% if %}", "line 2: Expected an expression"},
           {"{% nothing %}", "unknown tag 'nothing'"},
           {"{{ messages[0].content + 1 }}", "TypeError"},
           {"{{ nobody.home }}", "'nobody' is undefined"},
           {"{{ messages.__class__.__mro__ }}", "unsafe"},
           {"{% set ns = namespace() %}{% set ns._x = 1 %}", "'_x'"},
           {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"},
           {"{{ 'x' * 10000000000 }}", "MemoryError"}}) {
    expect_error(ErrorKind::kInput, {"chat", part}, [&, &own = text] { render(own); });
  }
  // Python's type cannot be reached; values made from it can.
  EXPECT_EQ(render("{{ dict(a=1).items() | list }}{{ dict.fromkeys }}").substr(0, 10),
            "[('a', 1)]");
}

TEST_F(ChatTemplates, ConversationsAreChecked) {
  for (const auto& [json, part] : std::vector<std::pair<std::string, std::string>>{
           {"1", "a JSON number"},
           {"{}", "no 'messages'"},
           {"[]", "empty list"},
           {R"({"messages": "a"})", "field 'messages': a JSON string"},
           {"[1]", "chat[0]: a JSON number"},
           {R"([{"role": "user"}, {"content": "x"}])", "chat[1]: no 'role'"},
           {R"([{"role": 1}])", "chat[0]: field 'role'"},
           {R"({"messages": [{"role": "user"}], "tools": {}})", "field 'tools'"},
           {R"({"messages": [{"role": "user"}], "tools": ["x"]})", "field 'tools'"},
           {"[{", "not valid JSON"},
           {std::string(300, '['), "nested too deeply"}}) {
    expect_error(ErrorKind::kInput, {"chat", part},
                 [&, &own = json] { parse_conversation(own, "chat"); });
  }
}

TEST_F(ChatTemplates, SayWhatIsMissing) {
  const fs::path model = with("x");
  const Conversation chat = user_message("a", "chat");
  const ChatTemplate loaded = ChatTemplate::load(model);
  ::setenv("ASSAY_PYTHON", "no-such-python", 1);
  expect_error(ErrorKind::kSystem, {"no-such-python", "python3-jinja2", "ASSAY_PYTHON"}, [&] {
    loaded.render({&chat, 1});
  });
  // An interpreter without Jinja2: -S ignores site-packages.
  const fs::path bare = directory_ / "bare-python";
  write_text(bare, "#!/bin/sh\nexec python3 -S \"$@\"\n");
  fs::permissions(bare, fs::perms::owner_all);
  ::setenv("ASSAY_PYTHON", bare.c_str(), 1);
  expect_error(ErrorKind::kSystem, {"No module named 'jinja2'", "python3-jinja2", "ASSAY_PYTHON"},
               [&] {
                 loaded.render({&chat, 1});
               });
  ::unsetenv("ASSAY_PYTHON");
}

}  // namespace
}  // namespace assay
