// HuggingFace's tokenizer.json (https://github.com/huggingface/tokenizers), as used by Qwen, Llama,
// Mistral, Gemma, OLMo and Phi:
//
//   truncation, padding  ignored: transformers turns them off in calls that do not ask for them
//   added_tokens   those without an entry in the vocabulary are numbered from its size on
//   normalizer     null, NFC, NFD, NFKC, NFKD, Nmt, Lowercase, Strip, StripAccents, Prepend,
//                  Replace, Precompiled, or a Sequence
//   pre_tokenizer  null, ByteLevel, Split (patterns: see regex_dialect.h), Digits, Metaspace,
//                  Punctuation, Whitespace, WhitespaceSplit, CharDelimiterSplit, UnicodeScripts,
//                  BertPreTokenizer, FixedLength, or a Sequence
//   post_processor null, ByteLevel (it only moves offsets), TemplateProcessing, RobertaProcessing,
//                  BertProcessing, or a Sequence
//   decoder        null, ByteLevel, Replace of a string, ByteFallback, Fuse, Strip, Metaspace, or a
//                  Sequence
//   model          BPE: vocab {token: id}; merges [["a", "b"], ...] or ["a b", ...]; or Unigram
//                  (unigram_json.cpp)
//
// Also enforced: no unknown fields or components, no dropout or affixes; unique tokens, ids and
// merges; merges only of existing tokens into existing tokens; ids below 2^22; at most 64 MiB.
#include "tokenizer/tokenizer_json.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <optional>
#include <unordered_set>

#include "assay/error.h"
#include "base/mapped_file.h"
#include "base/thread_pool.h"
#include "base/utf8.h"
#include "formats/json_fault.h"
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/json_fields.h"
#include "tokenizer/vocab_table.h"

namespace assay {
namespace {

namespace dom = simdjson::dom;

constexpr std::size_t kMaxBytes = std::size_t{64} << 20;
constexpr std::size_t kMeanTokenBytes = 7;  // a guess that saves growing

bool flag(const JsonFields& model, std::string_view field) {
  return model.find(field) && model.boolean(field);
}

void check_bpe(const JsonFields& model) {
  if (model.string("type") != "BPE") throw unknown_type(model, "BPE or Unigram");
  model.allow_only({"type", "dropout", "unk_token", "continuing_subword_prefix",
                    "end_of_word_suffix", "fuse_unk", "byte_fallback", "ignore_merges", "vocab",
                    "merges"});
  if (const auto dropout = model.find("dropout")) {
    double share = 1;
    if (dropout->get(share) != simdjson::SUCCESS || share != 0) {
      throw model.error("dropout", json_text(*dropout), "null or 0");
    }
  }
  for (const std::string_view affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (model.find(affix)) model.expect_string(affix, "");
  }
}

VocabTable read_vocab(const JsonFields& model) {
  const dom::object vocab = model.object("vocab");
  VocabTable table(vocab.size());
  std::vector<bool> seen;
  for (const dom::key_value_pair pair : vocab) {
    const auto error = [&](std::string_view found, std::string_view expected) {
      return model.error("vocab", fmt::format("token '{}' {}", pair.key, found), expected);
    };
    std::uint64_t id = 0;
    if (pair.value.get(id) != simdjson::SUCCESS || id > kMaxTokenId) {
      throw error("with id " + json_text(pair.value),
                  fmt::format("an id from 0 to {}", kMaxTokenId));
    }
    if (id >= seen.size()) seen.resize(id + 1);
    if (seen[id]) throw error(fmt::format("with id {} of another token", id), "an id of its own");
    seen[id] = true;
    if (!table.insert(pair.key, static_cast<TokenId>(id)))
      throw error("appears twice", "each token once");
  }
  return table;
}

Bpe::Alphabet read_alphabet(const JsonFields& model, const VocabTable& vocab, bool is_bytes) {
  Bpe::Alphabet alphabet;
  alphabet.is_bytes = is_bytes;
  const bool falls_back = flag(model, "byte_fallback");
  for (unsigned byte = 0; byte < 256; ++byte) {
    const auto symbol = byte_symbol(static_cast<unsigned char>(byte));
    alphabet.bytes[byte] = vocab.find(symbol).value_or(kNoToken);
    if (!falls_back) continue;
    alphabet.fallback[byte] = vocab.find(fmt::format("<0x{:02X}>", byte)).value_or(kNoToken);
  }
  alphabet.fuse_unknown = flag(model, "fuse_unk");
  if (model.find("unk_token")) {
    const std::string_view text = model.string("unk_token");
    alphabet.unknown = vocab.find(text).value_or(kNoToken);
    if (alphabet.unknown == kNoToken) alphabet.missing_unknown = text;
  }
  if (is_bytes) return alphabet;
  for (const auto& [text, id] : vocab.entries()) {
    if (text.empty()) continue;
    const Utf8Step step = utf8_step(text, 0);
    if (step.length != text.size()) continue;
    if (step.code_point >= alphabet.characters.size()) {
      alphabet.characters.resize(step.code_point + 1, kNoToken);
    }
    alphabet.characters[step.code_point] = id;
  }
  return alphabet;
}

// Every token of the vocabulary, as a piece.
WholePieces whole_pieces(const VocabTable& vocab, bool is_bytes) {
  WholePieces whole(vocab.entries().size());
  for (const auto& [text, id] : vocab.entries()) {
    std::string bytes;
    if (!is_bytes) {
      whole.add(text, id);
    } else if (append_symbols_as_bytes(text, bytes)) {
      whole.add(bytes, id);
    }
  }
  return whole;
}

// The two tokens of ["a", "b"] or "a b".
std::optional<std::pair<std::string_view, std::string_view>> merge_pair(const dom::element& value) {
  std::string_view text;
  if (value.get(text) == simdjson::SUCCESS) {
    const std::size_t space = text.find(' ');
    if (space == text.npos || text.find(' ', space + 1) != text.npos) return std::nullopt;
    return std::pair(text.substr(0, space), text.substr(space + 1));
  }
  dom::array pair;
  std::string_view left;
  std::string_view right;
  if (value.get(pair) != simdjson::SUCCESS || pair.size() != 2 ||
      pair.at(0).get(left) != simdjson::SUCCESS || pair.at(1).get(right) != simdjson::SUCCESS) {
    return std::nullopt;
  }
  return std::pair(left, right);
}

void read_texts(const VocabTable& vocab, TokenTexts& texts) {
  texts.reserve(vocab.entries().size(), kMeanTokenBytes * vocab.entries().size());
  for (const auto& [text, id] : vocab.entries()) texts.set(id, text);
}

void read_merges(const JsonFields& model, VocabTable& vocab, Bpe& bpe) {
  std::size_t index = 0;
  for (const dom::element value : model.array("merges")) {
    const auto error = [&](std::string_view found, std::string_view expected) {
      return model.error(fmt::format("merges[{}]", index), found, expected);
    };
    const auto pair = merge_pair(value);
    if (!pair) throw error(json_text(value), R"(["a", "b"] or "a b")");
    const auto& [left, right] = *pair;
    const auto known = [&](std::optional<TokenId> id, std::string_view text,
                           std::string_view more = {}) {
      if (!id) {
        throw error(fmt::format("unknown token '{}{}'", text, more), "tokens of model.vocab");
      }
      return *id;
    };
    const TokenId left_id = known(vocab.find(left), left);
    const TokenId right_id = known(vocab.find(right), right);
    const TokenId joined_id = known(vocab.find_joined(left, right), left, right);
    if (!bpe.add(left_id, right_id, joined_id)) {
      throw error(fmt::format("'{}' '{}' again", left, right), "each pair once");
    }
    ++index;
  }
}

// Reads the model and the tokens' texts; returns the vocabulary.
VocabTable read_model(const JsonFields& model, TokenizerJson& json) {
  if (model.string("type") == "Unigram") {
    json.pre_tokenizer.spells_bytes = true;
    UnigramParts parts = read_unigram(model);
    json.model = std::move(parts.model);
    read_texts(parts.vocab, json.texts);
    return std::move(parts.vocab);
  }
  check_bpe(model);
  const bool is_bytes = json.pre_tokenizer.ends_in_bytes();
  VocabTable vocab = read_vocab(model);
  Bpe bpe(read_alphabet(model, vocab, is_bytes), model.array("merges").size());
  ThreadPool pool(2);
  pool.for_each_item(2, [&](std::size_t part) {
    if (part == 0) read_merges(model, vocab, bpe);
    if (part == 1) read_texts(vocab, json.texts);
  });
  if (flag(model, "ignore_merges")) bpe.keep_whole(whole_pieces(vocab, is_bytes));
  json.model = std::move(bpe);
  return vocab;
}

void read_added_tokens(const JsonFields& root, const VocabTable& vocab, TokenizerJson& json) {
  if (!root.find("added_tokens")) return;
  // The tokenizers library numbers added tokens itself and ignores the file's ids, so these must
  // agree.
  std::uint64_t next = vocab.entries().size();
  std::unordered_set<std::string_view> seen;
  std::array<std::unordered_set<std::string>, 2> patterns;  // by normalized
  for (const JsonFields& fields : root.objects("added_tokens")) {
    fields.allow_only(
        {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    const std::string_view content = fields.string("content");
    if (content.empty()) throw fields.error("content", "an empty string", "a token's text");
    // Searching a text takes time proportional to the longest added token at every position.
    constexpr std::size_t kLongest = 512;
    if (content.size() > kLongest) {
      throw fields.error("content", fmt::format("{} bytes", content.size()),
                         fmt::format("at most {}", kLongest));
    }
    if (!seen.insert(content).second) {
      throw fields.error("content", fmt::format("'{}' again", content), "each token once");
    }
    const std::uint64_t id = fields.unsigned_integer("id");
    const auto known = vocab.find(content);
    const std::uint64_t expected = known ? *known : next;
    if (id != expected) {
      throw fields.error("id", std::to_string(id),
                         fmt::format("{}, the {}", expected,
                                     known ? "id in model.vocab" : "next id after the others"));
    }
    // A vocabulary with gaps in its ids may already use that number.
    if (!known && json.texts.contains(id)) {
      throw fields.error("id", fmt::format("{} of another token", id), "an id of its own");
    }
    if (!known) ++next;
    AddedToken token{.id = static_cast<TokenId>(id),
                     .content = std::string(content),
                     .pattern = std::string(content),
                     .special = fields.boolean("special"),
                     .normalized = fields.boolean("normalized"),
                     .lstrip = fields.boolean("lstrip"),
                     .rstrip = fields.boolean("rstrip"),
                     .single_word = fields.boolean("single_word")};
    if (token.normalized) token.pattern = normalize(json.normalizer, content).text;
    if (!patterns[token.normalized].insert(token.pattern).second) {
      throw fields.error("content", fmt::format("'{}', normalized, again", content),
                         "each token once");
    }
    json.texts.set(token.id, token.pattern);
    json.added.push_back(std::move(token));
  }
}

void check_template(const JsonFields& root, const TokenizerJson& json) {
  for (const auto* ids : {&json.around.before, &json.around.after}) {
    for (const std::int64_t id : *ids) {
      if (json.texts.contains(static_cast<std::size_t>(id))) continue;
      throw root.error("post_processor", fmt::format("id {} without a token", id), "a token's id");
    }
  }
}

}  // namespace

TokenizerJson read_tokenizer_json(const std::filesystem::path& path) {
  const MappedFile mapped(path);
  const std::size_t size = mapped.bytes().size();
  // The system fills the rest of the last page with zeros.
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const bool padded = (page - size % page) % page >= simdjson::SIMDJSON_PADDING;
  return parse_tokenizer_json(path.string(),
                              {reinterpret_cast<const char*>(mapped.bytes().data()), size}, padded);
}

TokenizerJson parse_tokenizer_json(const std::string& file, std::string_view text, bool padded) {
  if (text.size() > kMaxBytes) {
    throw input_error(file, fmt::format("{} bytes", text.size()),
                      fmt::format("at most {}", kMaxBytes));
  }
  // simdjson must not get the null pointer of an empty file.
  if (text.empty()) throw input_error(file, "empty file", "a JSON text");
  dom::parser parser;
  dom::element document;
  expect_parsed(parser.parse(text.data(), text.size(), /*realloc_if_needed=*/!padded).get(document),
                file, "a JSON text (is the file cut short?)");
  const JsonFields root(file, "", document,
                        {"version", "truncation", "padding", "added_tokens", "normalizer",
                         "pre_tokenizer", "post_processor", "decoder", "model"});
  if (root.find("version")) root.expect_string("version", "1.0");
  TokenizerJson json;
  json.normalizer = read_normalizer(root);
  json.pre_tokenizer = read_pre_tokenizer(root);
  json.around = read_post_processor(root);
  json.decoder = read_decoder(root);
  root.require("model", "a BPE or Unigram model");
  const VocabTable vocab = read_model(root.fields("model"), json);
  read_added_tokens(root, vocab, json);
  check_template(root, json);
  return json;
}

}  // namespace assay
