#include <fmt/format.h>

#include <string>
#include <string_view>

#include "base/text.h"
#include "base/utf8.h"
#include "tokenizer/components.h"

namespace assay {
namespace {

namespace dom = simdjson::dom;

// The ids of a special token in a template.
void append_special(const JsonFields& special_tokens, std::string_view name,
                    std::vector<std::int64_t>& ids) {
  const JsonFields token = special_tokens.fields(name);
  token.allow_only({"id", "ids", "tokens"});
  for (const dom::element value : token.array("ids")) {
    std::uint64_t id = 0;
    if (value.get(id) != simdjson::SUCCESS || id > UINT32_MAX) {
      throw token.error("ids", json_text(value), "token ids");
    }
    ids.push_back(static_cast<std::int64_t>(id));
  }
}

Template read_template(const JsonFields& processor) {
  processor.allow_only({"type", "single", "pair", "special_tokens"});
  Template result;
  bool text_seen = false;
  for (const JsonFields& piece : processor.objects("single")) {
    piece.allow_only({"Sequence", "SpecialToken"});
    if (piece.find("Sequence")) {
      piece.fields("Sequence").expect_string("id", "A");
      if (text_seen) throw processor.error("single", "the text twice", "once");
      text_seen = true;
    } else {
      append_special(processor.fields("special_tokens"), piece.fields("SpecialToken").string("id"),
                     text_seen ? result.after : result.before);
    }
  }
  if (!text_seen) throw processor.error("single", "no Sequence A", "the text once");
  return result;
}

// ["</s>", 2]
std::int64_t token_of(const JsonFields& processor, std::string_view field) {
  const dom::array pair = processor.array(field);
  std::string_view text;
  std::uint64_t id = 0;
  if (pair.size() != 2 || pair.at(0).get(text) != simdjson::SUCCESS ||
      pair.at(1).get(id) != simdjson::SUCCESS || id > UINT32_MAX) {
    throw processor.error(field, json_text(*processor.find(field)), "a token's text and its id");
  }
  return static_cast<std::int64_t>(id);
}

// RoBERTa's and BERT's: one token before the text and one after it.
Template read_pair(const JsonFields& processor) {
  processor.allow_only({"type", "sep", "cls", "trim_offsets", "add_prefix_space"});
  return {{token_of(processor, "cls")}, {token_of(processor, "sep")}};
}

Decoder::Step read_decoding(const JsonFields& part) {
  const std::string_view type = part.string("type");
  if (type == "ByteLevel") {
    check_byte_level(part);  // no flag changes the text
    return ByteLevelDecoding{};
  }
  if (type == "ByteFallback" || type == "Fuse") {
    part.allow_only({"type"});
    if (type == "Fuse") return FuseDecoding{};
    return ByteFallbackDecoding{};
  }
  if (type == "Replace") {
    part.allow_only({"type", "pattern", "content"});
    const JsonFields pattern = part.fields("pattern");
    pattern.allow_only({"String"});
    if (pattern.string("String").empty()) {
      throw pattern.error("String", "an empty string", "a text to replace");
    }
    return ReplaceDecoding{std::string(pattern.string("String")),
                           std::string(part.string("content"))};
  }
  if (type == "Strip") {
    part.allow_only({"type", "content", "start", "stop"});
    const std::string_view character = part.string("content");
    if (character.empty() || utf8_step(character, 0).length != character.size()) {
      throw part.error("content", fmt::format("'{}'", shown(character)), "one character");
    }
    return StripDecoding{std::string(character), part.unsigned_integer("start"),
                         part.unsigned_integer("stop")};
  }
  if (type == "Metaspace") {
    const MetaspaceStep step = read_metaspace(part);
    return MetaspaceDecoding{step.replacement, step.prepend != MetaspaceStep::Prepend::kNever};
  }
  throw unknown_type(part,
                     "ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace or a Sequence of "
                     "them");
}

}  // namespace

Template read_post_processor(const JsonFields& root) {
  Template result;
  if (!root.find("post_processor")) return result;
  bool seen = false;
  for (const JsonFields& part : parts_of(root.fields("post_processor"), "processors")) {
    if (part.string("type") == "ByteLevel") {  // moves offsets only
      check_byte_level(part);
      continue;
    }
    const std::string_view type = part.string("type");
    const bool is_pair = type == "RobertaProcessing" || type == "BertProcessing";
    if (type != "TemplateProcessing" && !is_pair) {
      throw unknown_type(part,
                         "ByteLevel, TemplateProcessing, RobertaProcessing, BertProcessing or a "
                         "Sequence of them");
    }
    if (seen) throw part.error("type", fmt::format("{} again", type), "one of them");
    seen = true;
    result = is_pair ? read_pair(part) : read_template(part);
  }
  return result;
}

Decoder read_decoder(const JsonFields& root) {
  Decoder decoder;
  decoder.joins_with_spaces = !root.find("decoder");
  if (decoder.joins_with_spaces) return decoder;
  Growth growth;
  for (const JsonFields& part : parts_of(root.fields("decoder"), "decoders")) {
    decoder.steps.push_back(read_decoding(part));
    if (const auto* replace = std::get_if<ReplaceDecoding>(&decoder.steps.back())) {
      growth.by((replace->to.size() + replace->from.size() - 1) / replace->from.size(), part,
                "content");
    }
  }
  return decoder;
}

}  // namespace assay
