#include "tokenizer/components.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>

namespace assay {
namespace {

namespace dom = simdjson::dom;

// The parts of a Sequence, or the component alone.
std::vector<JsonFields> parts_of(const JsonFields& component, std::string_view field) {
  if (component.string("type") != "Sequence") return {component};
  component.allow_only({"type", field});
  return component.objects(field);
}

Error unknown_type(const JsonFields& component, std::string_view expected) {
  return component.error("type", fmt::format("'{}'", component.string("type")), expected);
}

void expect_pattern_string(const JsonFields& component, std::string_view text) {
  const JsonFields pattern = component.fields("pattern");
  pattern.allow_only({"String"});
  pattern.expect_string("String", text);
}

NormalizerStep read_step(const JsonFields& step) {
  const std::string_view type = step.string("type");
  if (type == "NFC") {
    step.allow_only({"type"});
    return NormalizerStep::kNfc;
  }
  if (type == "Prepend") {
    step.allow_only({"type", "prepend"});
    step.expect_string("prepend", kMetaSymbol);
    return NormalizerStep::kPrependMeta;
  }
  if (type == "Replace") {
    step.allow_only({"type", "pattern", "content"});
    expect_pattern_string(step, " ");
    step.expect_string("content", kMetaSymbol);
    return NormalizerStep::kReplaceSpaces;
  }
  throw unknown_type(step, "NFC, Prepend, Replace or a Sequence of them");
}

void check_byte_level(const JsonFields& part) {
  part.allow_only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
}

bool flag(const JsonFields& fields, std::string_view field, bool otherwise) {
  return fields.find(field) ? fields.boolean(field) : otherwise;
}

PreTokenizer read_pattern_split(const JsonFields& split) {
  split.allow_only({"type", "pattern", "behavior", "invert"});
  // A pattern that matches everywhere leaves nothing between its matches: both ways give the same.
  if (split.string("behavior") == "Removed") {
    split.expect_boolean("invert", true);
  } else {
    split.expect_string("behavior", "Isolated");
    split.expect_boolean("invert", false);
  }
  const JsonFields pattern = split.fields("pattern");
  pattern.allow_only({"Regex"});
  const std::string_view regex = pattern.string("Regex");
  if (!is_verified_pattern(regex)) {
    throw pattern.error("Regex", fmt::format("'{}'", regex),
                        "a pattern whose pieces are verified (Qwen2, Llama 3, GPT-2, GPT-4o, "
                        "Mistral-Nemo)");
  }
  PreTokenizer result;
  result.kind = PreTokenizer::Kind::kPattern;
  result.splitter.emplace(regex);
  return result;
}

PreTokenizer read_split_at_spaces(const JsonFields& split) {
  split.allow_only({"type", "pattern", "behavior", "invert"});
  expect_pattern_string(split, " ");
  split.expect_string("behavior", "MergedWithPrevious");
  split.expect_boolean("invert", false);
  PreTokenizer result;
  result.kind = PreTokenizer::Kind::kAfterSpaces;
  return result;
}

PreTokenizer read_metaspace(const JsonFields& part) {
  part.allow_only(
      {"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
  part.expect_string("replacement", kMetaSymbol);
  PreTokenizer result;
  result.kind = PreTokenizer::Kind::kMetaspace;
  result.split = flag(part, "split", true);
  const std::string_view scheme =
      part.find("prepend_scheme") ? part.string("prepend_scheme") : "always";
  if (scheme == "always") {
    result.prepend = PreTokenizer::Prepend::kAlways;
  } else if (scheme == "first") {
    result.prepend = PreTokenizer::Prepend::kFirst;
  } else if (scheme != "never") {
    throw part.error("prepend_scheme", fmt::format("'{}'", scheme), "always, first or never");
  }
  if (!flag(part, "add_prefix_space", true) && scheme != "never") {
    throw part.error("add_prefix_space", fmt::format("false with prepend_scheme '{}'", scheme),
                     "true, or prepend_scheme 'never'");
  }
  return result;
}

// One alone: its own pattern, GPT-2's, unless it has none.
PreTokenizer read_byte_level(const JsonFields& part) {
  check_byte_level(part);
  part.expect_boolean("add_prefix_space", false);
  PreTokenizer result;
  if (flag(part, "use_regex", true)) {
    result.kind = PreTokenizer::Kind::kPattern;
    result.splitter.emplace(kGpt2Pattern);
  }
  return result;
}

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

}  // namespace

std::vector<NormalizerStep> read_normalizer(const JsonFields& root) {
  std::vector<NormalizerStep> steps;
  if (!root.find("normalizer")) return steps;
  for (const JsonFields& part : parts_of(root.fields("normalizer"), "normalizers")) {
    steps.push_back(read_step(part));
  }
  return steps;
}

PreTokenizerPart read_pre_tokenizer(const JsonFields& root) {
  if (!root.find("pre_tokenizer")) return {{}, false};
  const std::vector<JsonFields> parts = parts_of(root.fields("pre_tokenizer"), "pretokenizers");
  const auto type = [&](std::size_t i) { return parts[i].string("type"); };
  if (parts.size() == 1) {
    if (type(0) == "ByteLevel") return {read_byte_level(parts[0]), true};
    if (type(0) == "Metaspace") return {read_metaspace(parts[0]), false};
    if (type(0) == "Split") return {read_split_at_spaces(parts[0]), false};
    throw unknown_type(parts[0],
                       "ByteLevel, Metaspace, Split or a Sequence of Split and ByteLevel");
  }
  constexpr std::string_view kExpected = "a Sequence of Split and ByteLevel";
  if (parts.size() != 2) {
    throw root.error("pre_tokenizer", fmt::format("a Sequence of {}", parts.size()), kExpected);
  }
  if (type(0) != "Split") throw unknown_type(parts[0], "Split");
  if (type(1) != "ByteLevel") throw unknown_type(parts[1], "ByteLevel");
  check_byte_level(parts[1]);
  parts[1].expect_boolean("add_prefix_space", false);
  parts[1].expect_boolean("use_regex", false);
  return {read_pattern_split(parts[0]), true};
}

Template read_post_processor(const JsonFields& root) {
  Template result;
  if (!root.find("post_processor")) return result;
  bool seen = false;
  for (const JsonFields& part : parts_of(root.fields("post_processor"), "processors")) {
    if (part.string("type") == "ByteLevel") {  // moves offsets only
      check_byte_level(part);
      continue;
    }
    if (part.string("type") != "TemplateProcessing") {
      throw unknown_type(part, "ByteLevel, TemplateProcessing or a Sequence of them");
    }
    if (seen) throw part.error("type", "TemplateProcessing again", "it once");
    seen = true;
    result = read_template(part);
  }
  return result;
}

Decoder read_decoder(const JsonFields& root, bool byte_level) {
  constexpr std::string_view kSentencePiece =
      "a Sequence of Replace, ByteFallback, Fuse and perhaps Strip";
  const std::string_view expected = byte_level ? "ByteLevel" : kSentencePiece;
  root.require("decoder", expected);
  const JsonFields decoder = root.fields("decoder");
  if (byte_level) {
    if (decoder.string("type") != "ByteLevel") throw unknown_type(decoder, expected);
    check_byte_level(decoder);  // no flag changes the text
    return {};
  }
  if (decoder.string("type") != "Sequence") throw unknown_type(decoder, expected);
  const std::vector<JsonFields> parts = parts_of(decoder, "decoders");
  constexpr std::string_view kTypes[] = {"Replace", "ByteFallback", "Fuse", "Strip"};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i >= std::size(kTypes) || parts[i].string("type") != kTypes[i]) {
      throw unknown_type(parts[i], expected);
    }
  }
  if (parts.size() < 3) {
    throw decoder.error("decoders", fmt::format("a list of {}", parts.size()), expected);
  }
  parts[0].allow_only({"type", "pattern", "content"});
  expect_pattern_string(parts[0], kMetaSymbol);
  parts[0].expect_string("content", " ");
  Decoder result{.byte_level = false, .strip = 0};
  if (parts.size() == 4) {
    parts[3].allow_only({"type", "content", "start", "stop"});
    parts[3].expect_string("content", " ");
    result.strip = parts[3].unsigned_integer("start");
    if (parts[3].unsigned_integer("stop") != 0) {
      throw parts[3].error("stop", json_text(*parts[3].find("stop")), "0");
    }
  }
  return result;
}

}  // namespace assay
