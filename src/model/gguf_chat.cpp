// tokenizer.chat_template is the usual template. tokenizer.chat_templates lists the names of
// others; each is in tokenizer.chat_template.NAME.
#include "model/gguf_chat.h"

#include <fmt/format.h>

#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "assay/error.h"

namespace assay {
namespace {

constexpr const char* kTemplate = "tokenizer.chat_template";
constexpr const char* kOtherNames = "tokenizer.chat_templates";

// GGUF's name of a token (tokenizer.ggml.NAME_token_id), and its name in templates. "seperator" is
// GGUF's spelling.
constexpr std::pair<std::string_view, std::string_view> kSpecialTokens[] = {
    {"bos", "bos_token"},     {"eos", "eos_token"}, {"unknown", "unk_token"},
    {"padding", "pad_token"}, {"cls", "cls_token"}, {"seperator", "sep_token"},
    {"mask", "mask_token"}};

std::map<std::string, std::string> special_tokens(const GgufFile& file) {
  const std::span<const std::string_view> tokens = file.strings("tokenizer.ggml.tokens");
  std::map<std::string, std::string> special;
  for (const auto& [theirs, name] : kSpecialTokens) {
    const std::string key = fmt::format("tokenizer.ggml.{}_token_id", theirs);
    if (!file.has(key)) continue;
    const auto id = static_cast<std::size_t>(file.integer(key));
    if (id >= tokens.size()) {
      throw input_error(file.where(key), std::to_string(id),
                        fmt::format("a token below {}", tokens.size()));
    }
    special[std::string(name)] = tokens[id];
  }
  return special;
}

}  // namespace

ChatTemplate gguf_chat_template(const GgufFile& file) {
  std::map<std::string, ChatTemplate::Source> templates;
  const auto add = [&](std::string_view name, const std::string& key) {
    templates[std::string(name)] = {std::string(file.string(key)), file.where(key)};
  };
  if (file.has(kTemplate)) add("default", kTemplate);
  for (const std::string_view name : file.strings(kOtherNames)) {
    add(name, fmt::format("{}.{}", kTemplate, name));
  }
  if (templates.empty()) {
    throw input_error(file.where(kTemplate), "missing", "the text of a chat template");
  }
  return ChatTemplate::of(std::move(templates), special_tokens(file));
}

}  // namespace assay
