// HuggingFace's tokenizer.json (https://github.com/huggingface/tokenizers), byte-level BPE as Qwen
// uses it:
//
//   added_tokens   none normalized, stripping or bound to whole words; those without an entry in
//                  the vocabulary numbered on from its size
//   normalizer     null, NFC, or a Sequence of NFC
//   pre_tokenizer  Sequence of Split (the one pattern of split.h, Isolated) and ByteLevel
//   post_processor null or ByteLevel (it moves offsets only)
//   decoder        ByteLevel
//   model          BPE: vocab {token: id}; merges [["a", "b"], ...] or ["a b", ...]
//
// Enforced besides: no unknown field or component, no dropout, unknown token, affixes or byte
// fallback; no token, id or merge twice; merges of tokens that exist into one that exists; a token
// for each byte; ids below 2^22; at most 64 MiB.
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
#include "tokenizer/byte_alphabet.h"
#include "tokenizer/json_fields.h"
#include "tokenizer/split.h"
#include "tokenizer/vocab_table.h"

namespace assay {
namespace {

namespace dom = simdjson::dom;

constexpr std::size_t kMaxBytes = std::size_t{64} << 20;
constexpr std::size_t kMeanTokenBytes = 7;  // a guess that saves growing
constexpr std::uint64_t kMaxId = (1u << 22) - 1;

JsonFields item(const JsonFields& parent, std::string_view field, std::size_t index,
                const dom::element& value, std::initializer_list<std::string_view> known) {
  return {parent.file(), fmt::format("{}[{}]", parent.path(field), index), value, known};
}

bool read_normalizer(const JsonFields& root) {
  const auto value = root.find("normalizer");
  if (!value) return false;
  const JsonFields normalizer(root.file(), "normalizer", *value, {"type", "normalizers"});
  if (normalizer.string("type") != "Sequence") {
    normalizer.expect_string("type", "NFC");
    return true;
  }
  std::size_t count = 0;
  for (const dom::element element : normalizer.array("normalizers")) {
    item(normalizer, "normalizers", count++, element, {"type"}).expect_string("type", "NFC");
  }
  return count > 0;
}

void check_byte_level(const JsonFields& fields) {
  fields.expect_string("type", "ByteLevel");
  fields.expect_boolean("add_prefix_space", false);
  fields.expect_boolean("use_regex", false);
}

void check_pre_tokenizer(const JsonFields& root) {
  constexpr auto kExpected = "a Sequence of Split and ByteLevel";
  const JsonFields sequence(root.file(), "pre_tokenizer", root.require("pre_tokenizer", kExpected),
                            {"type", "pretokenizers", "add_prefix_space", "trim_offsets",
                             "use_regex", "pattern", "behavior", "invert"});
  sequence.expect_string("type", "Sequence");
  const dom::array parts = sequence.array("pretokenizers");
  if (parts.size() != 2) {
    throw sequence.error("pretokenizers", fmt::format("a list of {}", parts.size()), kExpected);
  }
  const JsonFields split =
      item(sequence, "pretokenizers", 0, parts.at(0), {"type", "pattern", "behavior", "invert"});
  split.expect_string("type", "Split");
  split.expect_string("behavior", "Isolated");
  split.expect_boolean("invert", false);
  const JsonFields pattern(split.file(), split.path("pattern"),
                           split.require("pattern", "an object with 'Regex'"), {"Regex"});
  pattern.expect_string("Regex", kSplitPattern);
  check_byte_level(item(sequence, "pretokenizers", 1, parts.at(1),
                        {"type", "add_prefix_space", "trim_offsets", "use_regex"}));
}

// The post-processor and the decoder: neither's flags change ids or text.
void check_byte_level_type(const JsonFields& root, std::string_view field) {
  const JsonFields fields(root.file(), std::string(field), root.require(field, "ByteLevel"),
                          {"type", "add_prefix_space", "trim_offsets", "use_regex"});
  fields.expect_string("type", "ByteLevel");
}

void check_bpe(const JsonFields& model) {
  model.expect_string("type", "BPE");
  model.expect_absent("dropout");
  model.expect_absent("unk_token");
  for (const std::string_view affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (model.find(affix)) model.expect_string(affix, "");
  }
  for (const std::string_view flag : {"byte_fallback", "ignore_merges"}) {
    if (model.find(flag)) model.expect_boolean(flag, false);
  }
  if (model.find("fuse_unk")) model.boolean("fuse_unk");  // nothing to fuse without an unk_token
}

VocabTable read_vocab(const JsonFields& model, TokenizerJson& json) {
  const dom::object vocab = model.object("vocab");
  VocabTable table(vocab.size());
  std::vector<bool> seen;
  for (const dom::key_value_pair pair : vocab) {
    const auto error = [&](std::string_view found, std::string_view expected) {
      return model.error("vocab", fmt::format("token '{}' {}", pair.key, found), expected);
    };
    std::uint64_t id = 0;
    if (pair.value.get(id) != simdjson::SUCCESS || id > kMaxId) {
      throw error("with id " + json_text(pair.value), fmt::format("an id from 0 to {}", kMaxId));
    }
    if (id >= seen.size()) seen.resize(id + 1);
    if (seen[id]) throw error(fmt::format("with id {} of another token", id), "an id of its own");
    seen[id] = true;
    if (!table.insert(pair.key, static_cast<TokenId>(id))) throw error("twice", "once");
  }
  json.vocab_size = table.entries().size();
  std::array<TokenId, 256> byte_ids{};
  for (unsigned byte = 0; byte < 256; ++byte) {
    const std::string symbol = byte_symbol(static_cast<unsigned char>(byte));
    const auto id = table.find(symbol);
    if (!id) {
      throw model.error("vocab", fmt::format("no token '{}' for byte 0x{:02X}", symbol, byte),
                        "a token for each of the 256 bytes");
    }
    byte_ids[byte] = *id;
  }
  json.bpe = Bpe(byte_ids, model.array("merges").size());
  return table;
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

void read_bytes(const VocabTable& vocab, TokenBytes& tokens) {
  tokens.reserve(vocab.entries().size(), kMeanTokenBytes * vocab.entries().size());
  for (const auto& [text, id] : vocab.entries()) tokens.add(id, text);
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

void read_added_tokens(const JsonFields& root, const VocabTable& vocab, TokenizerJson& json) {
  if (!root.find("added_tokens")) return;
  // tokenizers numbers added tokens by itself and ignores the file's ids: they must agree.
  std::uint64_t next = json.vocab_size;
  std::unordered_set<std::string_view> seen;
  for (const dom::element value : root.array("added_tokens")) {
    const JsonFields fields =
        item(root, "added_tokens", json.added.size(), value,
             {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
    for (const std::string_view flag : {"single_word", "lstrip", "rstrip", "normalized"}) {
      fields.expect_boolean(flag, false);
    }
    const std::string_view content = fields.string("content");
    if (content.empty()) throw fields.error("content", "an empty string", "a token's text");
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
    // A vocabulary with gaps in its ids may have given that number away.
    if (!known && json.tokens.contains(id)) {
      throw fields.error("id", fmt::format("{} of another token", id), "an id of its own");
    }
    if (!known) {
      json.tokens.add(static_cast<TokenId>(id), content);
      ++next;
    }
    json.added.push_back(
        {static_cast<TokenId>(id), std::string(content), fields.boolean("special")});
  }
}

}  // namespace

TokenizerJson read_tokenizer_json(const std::filesystem::path& path) {
  const MappedFile mapped(path);
  const std::size_t size = mapped.bytes().size();
  // The system fills the last page with zeros.
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
  // simdjson may not be given the null pointer that an empty file is.
  if (text.empty()) throw input_error(file, "empty file", "a JSON text");
  dom::parser parser;
  dom::element document;
  const simdjson::error_code error =
      parser.parse(text.data(), text.size(), /*realloc_if_needed=*/!padded).get(document);
  if (error != simdjson::SUCCESS) {
    throw input_error(file, fmt::format("not valid JSON ({})", simdjson::error_message(error)),
                      "a JSON text (is the file cut short?)");
  }
  const JsonFields root(file, "", document,
                        {"version", "truncation", "padding", "added_tokens", "normalizer",
                         "pre_tokenizer", "post_processor", "decoder", "model"});
  if (root.find("version")) root.expect_string("version", "1.0");
  root.expect_absent("truncation");
  root.expect_absent("padding");
  TokenizerJson json;
  json.nfc = read_normalizer(root);
  check_pre_tokenizer(root);
  if (root.find("post_processor")) check_byte_level_type(root, "post_processor");
  check_byte_level_type(root, "decoder");
  const JsonFields model(
      file, "model", root.require("model", "a BPE model"),
      {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
       "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
  check_bpe(model);
  VocabTable vocab = read_vocab(model, json);
  ThreadPool pool(2);
  pool.for_each_item(2, [&](std::size_t part) {
    if (part == 0) read_merges(model, vocab, json.bpe);
    if (part == 1) read_bytes(vocab, json.tokens);
  });
  read_added_tokens(root, vocab, json);
  return json;
}

}  // namespace assay
