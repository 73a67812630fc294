// Chat templates: from a conversation to the text that a checkpoint was trained on.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "assay/chat.h"

namespace assay {

// The chat template of a checkpoint, as transformers' apply_chat_template runs it. Rendering starts
// the reference engine, Jinja2, in a Python process of its own: $ASSAY_PYTHON, or else python3.
class ChatTemplate {
 public:
  struct Source {
    std::string text;
    std::string where;  // names it in messages: file, and field where it is one
  };

  // Reads chat_template.jinja and additional_chat_templates/*.jinja, or else tokenizer_config.json,
  // or else chat_template.json; and the special tokens, which templates name. Throws an input error
  // where none of them has a template.
  static ChatTemplate load(const std::filesystem::path& model);

  // Of a checkpoint that has no such files: at least one template, by name (the usual one is
  // "default"), and the special tokens' texts ("bos_token", ...). Throws an input error where a
  // text is not UTF-8.
  static ChatTemplate of(std::map<std::string, Source> templates,
                         std::map<std::string, std::string> special_tokens);

  // The text of each conversation, up to where the model's answer begins. It has its special tokens
  // in it: nothing is to be added when it is encoded. thinking: the template's `enable_thinking`,
  // which is not set where there is none. Throws input errors (the template refuses the
  // conversation, is not valid Jinja, takes longer than half a minute or more than two GiB) and
  // system errors (no Python, no Jinja2).
  std::vector<std::string> render(std::span<const Conversation> conversations,
                                  std::optional<bool> thinking = {}) const;

 private:
  const std::string& name_for(const Conversation& conversation) const;
  void add_json(const std::filesystem::path& file);

  std::map<std::string, Source> templates_;  // by name; the usual one is "default"
  std::map<std::string, std::string> special_tokens_;
};

}  // namespace assay
