#include <fmt/format.h>

#include "assay/chat.h"
#include "assay/error.h"
#include "cli/commands.h"

namespace assay {

void add_chat_options(CLI::App& command, ChatArguments& chat) {
  command.add_flag("--chat", chat.apply,
                   "Apply the checkpoint's chat template: each text is a user message");
  command
      .add_option("--conversation", chat.conversations,
                  "JSON file with a list of messages, or an object with \"messages\" and "
                  "\"tools\", to be rendered with the chat template; may be repeated")
      ->type_name("FILE")
      ->allow_extra_args(false);
  CLI::Option* thinking = command.add_flag("--thinking", chat.thinking,
                                           "Set the template's enable_thinking to true (default: "
                                           "unset)");
  command.add_flag("--no-thinking", chat.no_thinking, "Set enable_thinking to false")
      ->excludes(thinking);
  command.parse_complete_callback([&chat] {
    if (chat.wanted() || !(chat.thinking || chat.no_thinking)) return;
    throw CLI::RequiresError(chat.thinking ? "--thinking" : "--no-thinking", "--chat");
  });
}

void apply_chat_template(std::vector<Prompt>& prompts, const ChatArguments& chat,
                         const std::filesystem::path& model) {
  if (chat.wanted()) {
    std::optional<bool> thinking;
    if (chat.thinking || chat.no_thinking) thinking = chat.thinking;
    render_chats(prompts, model, thinking);
    return;
  }
  for (const Prompt& prompt : prompts) {
    if (!prompt.conversation) continue;
    throw input_error(prompt.conversation->where, "a conversation, but no --chat",
                      "--chat, which applies the checkpoint's chat template");
  }
}

std::vector<Prompt> collect_prompts(const std::vector<std::string>& texts,
                                    const std::vector<std::string>& files,
                                    const ChatArguments& chat, const std::filesystem::path& model) {
  std::vector<Prompt> prompts = prompts_from_texts(texts);
  const auto next = [&] { return static_cast<int>(prompts.size()) + 1; };
  for (const std::string& file : files) {
    for (Prompt& prompt : read_prompts(file, next())) prompts.push_back(std::move(prompt));
  }
  for (const std::string& file : chat.conversations) {
    prompts.push_back({fmt::format("prompt{}", next()), {}, {}, read_conversation(file)});
  }
  if (prompts.empty()) prompts = default_prompts();
  apply_chat_template(prompts, chat, model);
  return prompts;
}

}  // namespace assay
