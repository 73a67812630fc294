#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>

#include "base/text.h"
#include "base/utf8.h"
#include "tokenizer/base64.h"
#include "tokenizer/components.h"
#include "tokenizer/split_patterns.h"

namespace assay {
namespace {

constexpr std::string_view kNormalizers =
    "NFC, NFD, NFKC, NFKD, Nmt, Lowercase, Strip, StripAccents, Prepend, Replace, Precompiled or a "
    "Sequence of them";
constexpr std::string_view kPreTokenizers =
    "ByteLevel, Split, Digits, Metaspace, Punctuation, Whitespace, WhitespaceSplit, "
    "CharDelimiterSplit, UnicodeScripts, BertPreTokenizer, FixedLength or a Sequence of them";

bool flag(const JsonFields& fields, std::string_view field, bool otherwise) {
  return fields.find(field) ? fields.boolean(field) : otherwise;
}

// A pattern that matches the text alone.
std::string escaped(std::string_view text) {
  std::string pattern;
  for (const char c : text) {
    if (std::ispunct(static_cast<unsigned char>(c)) != 0) pattern += '\\';
    pattern += c;
  }
  return pattern;
}

struct Pattern {
  std::string_view text;
  bool is_regex;
  std::string where;
};

Pattern read_pattern(const JsonFields& component) {
  const JsonFields pattern = component.fields("pattern");
  pattern.allow_only({"String", "Regex"});
  if (pattern.find("String") && pattern.find("Regex")) {
    throw pattern.error("Regex", "beside a String", "one of the two");
  }
  const char* kind = pattern.find("String") ? "String" : "Regex";
  return {pattern.string(kind), *kind == 'R', pattern.where(kind)};
}

NormalizerStep read_replace(const JsonFields& step) {
  step.allow_only({"type", "pattern", "content"});
  const Pattern pattern = read_pattern(step);
  const std::string to(step.string("content"));
  if (pattern.is_regex) return ReplaceStep{Splitter(pattern.text, pattern.where), to};
  if (pattern.text.empty()) {
    throw input_error(pattern.where, "an empty string", "a text to replace");
  }
  return ReplaceStep{std::string(pattern.text), to};
}

NormalizerStep read_precompiled(const JsonFields& step) {
  constexpr std::string_view kField = "precompiled_charsmap";
  step.allow_only({"type", kField});
  const std::string_view text = step.string(kField);
  const std::optional<std::string> bytes = from_base64(text);
  if (!bytes) throw step.error(kField, fmt::format("'{}'", shown(text)), "base64");
  return Charsmap(*bytes, step.where(kField));
}

NormalizerStep read_step(const JsonFields& step) {
  const std::string_view type = step.string("type");
  const auto no_fields = [&] { step.allow_only({"type"}); };
  if (type == "NFC") return no_fields(), UnicodeForm::kNfc;
  if (type == "NFD") return no_fields(), UnicodeForm::kNfd;
  if (type == "NFKC") return no_fields(), UnicodeForm::kNfkc;
  if (type == "NFKD") return no_fields(), UnicodeForm::kNfkd;
  if (type == "Nmt") return no_fields(), NmtStep{};
  if (type == "StripAccents") return no_fields(), StripAccentsStep{};
  if (type == "Lowercase") return no_fields(), LowercaseStep{};
  if (type == "Strip") {
    step.allow_only({"type", "strip_left", "strip_right"});
    return StripStep{step.boolean("strip_left"), step.boolean("strip_right")};
  }
  if (type == "Prepend") {
    step.allow_only({"type", "prepend"});
    return PrependStep{std::string(step.string("prepend"))};
  }
  if (type == "Replace") return read_replace(step);
  if (type == "Precompiled") return read_precompiled(step);
  throw unknown_type(step, kNormalizers);
}

void add_growth(Growth& growth, const NormalizerStep& step, const JsonFields& part) {
  if (const auto* replace = std::get_if<ReplaceStep>(&step)) {
    const auto* text = std::get_if<std::string>(&replace->from);
    const std::size_t from =
        text != nullptr ? text->size() : std::get<Splitter>(replace->from).least_match();
    // What matches nothing matches before every byte.
    const std::size_t to = replace->to.size();
    growth.by(from == 0 ? to + 1 : (to + from - 1) / from, part, "content");
  } else if (const auto* prepend = std::get_if<PrependStep>(&step)) {
    growth.by(prepend->text.size() + 1, part, "prepend");
  } else if (const auto* charsmap = std::get_if<Charsmap>(&step)) {
    growth.by(charsmap->longest(), part, "precompiled_charsmap");
  }
}

// What becomes of what a Split or Punctuation is cut at.
SplitBehavior read_behavior(const JsonFields& split) {
  const std::string_view name = split.string("behavior");
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  throw split.error("behavior", fmt::format("'{}'", shown(name)),
                    "Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

SplitStep read_split(const JsonFields& split) {
  split.allow_only({"type", "pattern", "behavior", "invert"});
  const Pattern pattern = read_pattern(split);
  return {
      Splitter(pattern.is_regex ? std::string(pattern.text) : escaped(pattern.text), pattern.where),
      read_behavior(split), split.boolean("invert")};
}

// One character.
std::string read_character(const JsonFields& component, std::string_view field) {
  const std::string_view text = component.string(field);
  if (text.empty() || utf8_step(text, 0).length != text.size()) {
    throw component.error(field, fmt::format("'{}'", shown(text)), "one character");
  }
  return std::string(text);
}

ByteLevelStep read_byte_level(const JsonFields& part) {
  check_byte_level(part);
  ByteLevelStep step;
  step.add_prefix_space = part.boolean("add_prefix_space");
  if (flag(part, "use_regex", true)) step.splitter.emplace(kGpt2Pattern);
  return step;
}

// Pieces of so many characters.
SplitStep read_fixed_length(const JsonFields& part) {
  constexpr std::uint64_t kMost = 65535;  // that a pattern may repeat
  part.allow_only({"type", "length"});
  const std::uint64_t length = part.find("length") ? part.unsigned_integer("length") : 5;
  if (length == 0 || length > kMost) {
    throw part.error("length", std::to_string(length), fmt::format("1 to {}", kMost));
  }
  return SplitStep{Splitter(fmt::format(R"([\s\S]{{1,{}}})", length))};
}

PreTokenizer::Step read_pre_step(const JsonFields& part) {
  const std::string_view type = part.string("type");
  if (type == "ByteLevel") return read_byte_level(part);
  if (type == "Split") return read_split(part);
  if (type == "Metaspace") return read_metaspace(part);
  if (type == "Digits") {
    part.allow_only({"type", "individual_digits"});
    return SplitStep{CharKind::kNumeric, part.boolean("individual_digits")
                                             ? SplitBehavior::kIsolated
                                             : SplitBehavior::kContiguous};
  }
  if (type == "WhitespaceSplit") {
    part.allow_only({"type"});
    return SplitStep{CharKind::kWhiteSpace, SplitBehavior::kRemoved};
  }
  if (type == "Punctuation") {
    part.allow_only({"type", "behavior"});
    return SplitStep{CharKind::kPunctuation,
                     part.find("behavior") ? read_behavior(part) : SplitBehavior::kIsolated};
  }
  if (type == "Whitespace" || type == "UnicodeScripts") {
    part.allow_only({"type"});
    if (type == "Whitespace") return WordsStep{};
    return ScriptsStep{};
  }
  if (type == "FixedLength") return read_fixed_length(part);
  if (type == "CharDelimiterSplit") {
    part.allow_only({"type", "delimiter"});
    return SplitStep{Splitter(escaped(read_character(part, "delimiter"))), SplitBehavior::kRemoved};
  }
  throw unknown_type(part, kPreTokenizers);
}

}  // namespace

void Growth::by(std::size_t bytes, const JsonFields& step, std::string_view field) {
  const std::size_t most = kMost / all_;
  if (bytes > most) {
    throw step.error(field, fmt::format("up to {} bytes for one, after {} for one", bytes, all_),
                     fmt::format("at most {} in all", kMost));
  }
  all_ *= std::max<std::size_t>(bytes, 1);
}

std::vector<JsonFields> parts_of(const JsonFields& component, std::string_view field) {
  if (component.string("type") != "Sequence") return {component};
  component.allow_only({"type", field});
  std::vector<JsonFields> all;
  for (const JsonFields& part : component.objects(field)) {
    for (const JsonFields& inner : parts_of(part, field)) all.push_back(inner);
  }
  // Each goes through the whole text.
  constexpr std::size_t kMost = 100;
  if (all.size() > kMost) {
    throw component.error(field, fmt::format("{} steps", all.size()),
                          fmt::format("at most {}", kMost));
  }
  return all;
}

Error unknown_type(const JsonFields& component, std::string_view expected) {
  return component.error("type", fmt::format("'{}'", shown(component.string("type"))), expected);
}

void check_byte_level(const JsonFields& part) {
  part.allow_only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
}

MetaspaceStep read_metaspace(const JsonFields& part) {
  part.allow_only(
      {"type", "replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
  MetaspaceStep step;
  step.replacement = read_character(part, "replacement");
  step.split = flag(part, "split", true);
  const std::string_view scheme =
      part.find("prepend_scheme") ? part.string("prepend_scheme") : "always";
  if (scheme == "always") {
    step.prepend = MetaspaceStep::Prepend::kAlways;
  } else if (scheme == "first") {
    step.prepend = MetaspaceStep::Prepend::kFirst;
  } else if (scheme != "never") {
    throw part.error("prepend_scheme", fmt::format("'{}'", shown(scheme)),
                     "always, first or never");
  }
  if (!flag(part, "add_prefix_space", true) && scheme != "never") {
    throw part.error("add_prefix_space", fmt::format("false with prepend_scheme '{}'", scheme),
                     "true, or prepend_scheme 'never'");
  }
  return step;
}

std::vector<NormalizerStep> read_normalizer(const JsonFields& root) {
  std::vector<NormalizerStep> steps;
  Growth growth;
  if (!root.find("normalizer")) return steps;
  for (const JsonFields& part : parts_of(root.fields("normalizer"), "normalizers")) {
    steps.push_back(read_step(part));
    add_growth(growth, steps.back(), part);
  }
  return steps;
}

PreTokenizer read_pre_tokenizer(const JsonFields& root) {
  PreTokenizer result;
  Growth growth;
  if (!root.find("pre_tokenizer")) return result;
  for (const JsonFields& part : parts_of(root.fields("pre_tokenizer"), "pretokenizers")) {
    if (part.string("type") == "BertPreTokenizer") {
      part.allow_only({"type"});
      result.steps.push_back(SplitStep{CharKind::kWhiteSpace, SplitBehavior::kRemoved});
      result.steps.push_back(SplitStep{CharKind::kPunctuation, SplitBehavior::kIsolated});
    } else {
      result.steps.push_back(read_pre_step(part));
      if (part.string("type") == "ByteLevel") growth.by(2, part, "type");
    }
  }
  return result;
}

}  // namespace assay
