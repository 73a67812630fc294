// Two kinds of vocabularies (tokenizer.ggml.model):
//
//   gpt2   byte-level BPE. The file has tokens and merges; tokenizer.ggml.pre names the patterns
//          that split text, and other properties of the published tokenizers of that name
//          (gguf_pre_tokenizers.h).
//   llama  SentencePiece BPE: tokens with scores, bytes as <0x0A>. The merges are those that the
//          vocabulary implies, as transformers derives them: every way to cut a token into two
//          others, the better score first (for Gemma the lower token id first, because its scores
//          are not a merge order). Spaces are U+2581, with one put before the text unless
//          tokenizer.ggml.add_space_prefix says otherwise.
//
// Token types: 2 unknown, 3 control and 4 user-defined tokens are added tokens; 5 is unused, and
// its fillers "[PAD<id>]" are left out; 6 is a byte.
#include "model/gguf_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "assay/error.h"
#include "base/text.h"
#include "base/utf8.h"
#include "formats/json_file.h"
#include "model/gguf_pre_tokenizers.h"
#include "models/gguf_config.h"

namespace assay {
namespace {

constexpr std::string_view kSpace = "\u2581";
constexpr std::size_t kMaxToken = 1024;  // bytes; every cut of a token is looked up

// tokenizer.ggml.token_type
constexpr int kNormal = 1;
constexpr int kUnknown = 2;
constexpr int kControl = 3;
constexpr int kUserDefined = 4;
constexpr int kUnused = 5;
constexpr int kByte = 6;

void append_json_string(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 15u];
    } else {
      out += c;
    }
  }
  out += '"';
}

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0u) != 0x80u; }));
}

OrderedJson byte_level(bool use_regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", false},
          {"use_regex", use_regex}};
}

OrderedJson replace(std::string_view from, std::string_view to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}

OrderedJson sequence(std::string_view of, OrderedJson parts) {
  return {{"type", "Sequence"}, {std::string(of), std::move(parts)}};
}

class TokenizerWriter {
 public:
  explicit TokenizerWriter(const GgufFile& file) : file_(file) {
    const std::string_view model = file.string("tokenizer.ggml.model");
    if (model != "gpt2" && model != "llama") {
      throw input_error(file.where("tokenizer.ggml.model"), "'" + std::string(model) + "'",
                        "gpt2 or llama");
    }
    byte_level_ = model == "gpt2";
    read_tokens();
  }

  std::string text() {
    OrderedJson root = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
    root["added_tokens"] = added_tokens();
    bool ignore_merges = false;
    bool falls_back = true;
    if (byte_level_) {
      const GgufPreTokenizer& pre = pre_tokenizer();
      ignore_merges = pre.ignore_merges;
      falls_back = pre.spelling == GgufPreTokenizer::Spelling::kMetaSpaces;
      add_byte_level(pre, root);
    } else {
      add_sentencepiece(root);
    }
    // The vocabulary is most of the text, so it is written directly, not as a tree.
    std::string out = root.dump(-1, ' ', false, OrderedJson::error_handler_t::strict);
    out.pop_back();
    out += R"(,"model":{"type":"BPE","dropout":null,"unk_token":)";
    const std::optional<std::string_view> unknown = byte_level_ ? std::nullopt : unknown_token();
    if (unknown) {
      append_json_string(out, *unknown);
    } else {
      out += "null";
    }
    out += fmt::format(R"(,"continuing_subword_prefix":null,"end_of_word_suffix":null,)"
                       R"("fuse_unk":{0},"byte_fallback":{0},"ignore_merges":{1},"vocab":{{)",
                       falls_back, ignore_merges);
    append_vocab(out);
    out += R"(},"merges":[)";
    if (file_.has("tokenizer.ggml.merges")) {
      append_stored_merges(out);
    } else if (byte_level_) {
      throw input_error(file_.where("tokenizer.ggml.merges"), "missing", "a list of strings");
    } else {
      append_implied_merges(out);
    }
    out += "]}}";
    return out;
  }

 private:
  struct Token {
    std::string text;
    int type = kNormal;
    bool kept = true;
  };

  void read_tokens() {
    constexpr const char* kTokens = "tokenizer.ggml.tokens";
    const std::span<const std::string_view> texts = file_.strings(kTokens);
    if (texts.empty()) throw input_error(file_.where(kTokens), "missing or empty", "the tokens");
    const std::vector<double> types = file_.numbers("tokenizer.ggml.token_type");
    if (!types.empty() && types.size() != texts.size()) {
      throw input_error(file_.where("tokenizer.ggml.token_type"),
                        fmt::format("{} types", types.size()),
                        fmt::format("one for each of {} tokens", texts.size()));
    }
    const bool gemma = !byte_level_ && gguf_type(file_).gguf.architecture.starts_with("gemma");
    tokens_.resize(texts.size());
    for (std::size_t id = 0; id < texts.size(); ++id) {
      Token& token = tokens_[id];
      token.text = texts[id];
      if (utf8_valid_prefix(token.text) < token.text.size()) {
        throw input_error(file_.where(kTokens), fmt::format("token {} is not valid UTF-8", id),
                          "UTF-8");
      }
      if (token.text.size() > kMaxToken) {
        throw input_error(file_.where(kTokens),
                          fmt::format("token {} of {} bytes", id, token.text.size()),
                          fmt::format("at most {}", kMaxToken));
      }
      const double type = types.empty() ? kNormal : types[id];
      if (!(type >= 0 && type <= kByte)) {
        throw input_error(file_.where("tokenizer.ggml.token_type"), fmt::format("{}", type),
                          "0 to 6");
      }
      token.type = static_cast<int>(type);
      token.kept = token.type != kUnused || token.text != fmt::format("[PAD{}]", id);
      if (gemma) spell_spaces(token);
      if (token.kept && !ids_.emplace(token.text, id).second) {
        throw input_error(file_.where(kTokens), fmt::format("duplicate token '{}'", token.text),
                          "each token once");
      }
    }
  }

  // Gemma's tokens that consist of spaces are stored with spaces, and are not added tokens: the
  // normalizer replaces spaces before added tokens are looked for.
  static void spell_spaces(Token& token) {
    if (token.text.find_first_not_of(' ') != std::string::npos || token.text.empty()) return;
    std::string spelled;
    for (std::size_t i = 0; i < token.text.size(); ++i) spelled += kSpace;
    token.text = std::move(spelled);
    token.type = kNormal;
  }

  const GgufPreTokenizer& pre_tokenizer() const {
    constexpr const char* kKey = "tokenizer.ggml.pre";
    std::string_view name = file_.optional_string(kKey).value_or("default");
    // Older files of Qwen do not have the key.
    if (name == "default" && gguf_type(file_).gguf.architecture.starts_with("qwen")) name = "qwen2";
    const GgufPreTokenizer* found = find_gguf_pre_tokenizer(name);
    if (found == nullptr) {
      throw input_error(file_.where(kKey), "'" + shown(name) + "'",
                        "the name of a pre-tokenizer that docs/gguf.md lists");
    }
    return *found;
  }

  bool is_added(const Token& token) const {
    return token.type == kControl || token.type == kUserDefined ||
           (token.type == kUnknown && !byte_level_);
  }

  OrderedJson added_tokens() const {
    OrderedJson added = OrderedJson::array();
    for (std::size_t id = 0; id < tokens_.size(); ++id) {
      if (!is_added(tokens_[id]) || tokens_[id].text.empty()) continue;
      added.push_back({{"id", id},
                       {"content", tokens_[id].text},
                       {"single_word", false},
                       {"lstrip", false},
                       {"rstrip", false},
                       {"normalized", false},
                       {"special", tokens_[id].type != kUserDefined}});
    }
    return added;
  }

  void add_byte_level(const GgufPreTokenizer& pre, OrderedJson& root) const {
    using enum GgufPreTokenizer::Spelling;
    const bool bytes = pre.spelling == kVisibleBytes;
    root["normalizer"] = pre.spelling == kMetaSpaces ? replace(" ", kSpace)
                         : pre.nfc                   ? OrderedJson{{"type", "NFC"}}
                                                     : OrderedJson(nullptr);
    OrderedJson steps = OrderedJson::array();
    for (const std::string_view pattern : pre.patterns) {
      steps.push_back({{"type", "Split"},
                       {"pattern", {{"Regex", pattern}}},
                       {"behavior", "Isolated"},
                       {"invert", false}});
    }
    if (bytes) steps.push_back(byte_level(false));
    root["pre_tokenizer"] = sequence("pretokenizers", std::move(steps));
    root["post_processor"] = around(pre.adds_bos, bytes ? byte_level(false) : OrderedJson());
    const OrderedJson fuse = {{"type", "Fuse"}};
    root["decoder"] =
        bytes ? byte_level(false)
        : pre.spelling == kPlain
            ? fuse
            : sequence("decoders", OrderedJson::array(
                                       {replace(kSpace, " "), {{"type", "ByteFallback"}}, fuse}));
  }

  void add_sentencepiece(OrderedJson& root) const {
    const bool prefix = file_.boolean("tokenizer.ggml.add_space_prefix", true);
    const OrderedJson spaces = replace(" ", kSpace);
    OrderedJson decoders =
        OrderedJson::array({replace(kSpace, " "), {{"type", "ByteFallback"}}, {{"type", "Fuse"}}});
    if (prefix) {
      root["normalizer"] = sequence(
          "normalizers", OrderedJson::array({{{"type", "Prepend"}, {"prepend", kSpace}}, spaces}));
      root["pre_tokenizer"] = nullptr;
      decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
    } else {
      root["normalizer"] = spaces;
      root["pre_tokenizer"] = {{"type", "Split"},
                               {"pattern", {{"String", " "}}},
                               {"behavior", "MergedWithPrevious"},
                               {"invert", false}};
    }
    root["post_processor"] = around(true, nullptr);
    root["decoder"] = sequence("decoders", std::move(decoders));
  }

  // The post-processor: `alone`, with tokens around the text if there are any.
  OrderedJson around(bool adds_bos, OrderedJson alone) const {
    const bool bos = file_.boolean("tokenizer.ggml.add_bos_token", adds_bos);
    const bool eos = file_.boolean("tokenizer.ggml.add_eos_token", false);
    if (!bos && !eos) return alone;
    OrderedJson single = OrderedJson::array();
    OrderedJson pair = OrderedJson::array();
    OrderedJson special = OrderedJson::object();
    const auto add_token = [&](const char* key, int type) {
      const std::string_view text = special_token(key);
      const OrderedJson item = {{"SpecialToken", {{"id", text}, {"type_id", type}}}};
      if (type == 0) single.push_back(item);
      pair.push_back(item);
      special[std::string(text)] = {{"id", text},
                                    {"ids", OrderedJson::array({ids_.at(text)})},
                                    {"tokens", OrderedJson::array({text})}};
    };
    constexpr const char* kBos = "tokenizer.ggml.bos_token_id";
    constexpr const char* kEos = "tokenizer.ggml.eos_token_id";
    if (bos) add_token(kBos, 0);
    single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
    pair.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
    if (eos) add_token(kEos, 0);
    if (bos) add_token(kBos, 1);
    pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
    if (eos) add_token(kEos, 1);
    OrderedJson around = {{"type", "TemplateProcessing"},
                          {"single", std::move(single)},
                          {"pair", std::move(pair)},
                          {"special_tokens", std::move(special)}};
    if (alone.is_null()) return around;
    return sequence("processors", OrderedJson::array({std::move(alone), std::move(around)}));
  }

  std::string_view special_token(const char* key) const {
    const auto id = static_cast<std::size_t>(file_.integer(key));
    if (id >= tokens_.size() || !tokens_[id].kept) {
      throw input_error(file_.where(key), std::to_string(id),
                        fmt::format("a token below {}", tokens_.size()));
    }
    return tokens_[id].text;
  }

  std::optional<std::string_view> unknown_token() const {
    if (file_.has("tokenizer.ggml.unknown_token_id")) {
      return special_token("tokenizer.ggml.unknown_token_id");
    }
    const auto found = std::ranges::find(tokens_, kUnknown, &Token::type);
    if (found == tokens_.end()) return std::nullopt;
    return found->text;
  }

  void append_vocab(std::string& out) const {
    bool first = true;
    for (std::size_t id = 0; id < tokens_.size(); ++id) {
      if (!tokens_[id].kept) continue;
      if (!first) out += ',';
      first = false;
      append_json_string(out, tokens_[id].text);
      out += fmt::format(":{}", id);
    }
  }

  void append_stored_merges(std::string& out) const {
    bool first = true;
    for (const std::string_view merge : file_.strings("tokenizer.ggml.merges")) {
      if (utf8_valid_prefix(merge) < merge.size()) {
        throw input_error(file_.where("tokenizer.ggml.merges"), "a merge that is not valid UTF-8",
                          "UTF-8");
      }
      if (!first) out += ',';
      first = false;
      append_json_string(out, merge);
    }
  }

  void append_implied_merges(std::string& out) const {
    const std::vector<double> scores = file_.numbers("tokenizer.ggml.scores");
    if (scores.size() != tokens_.size()) {
      throw input_error(file_.where("tokenizer.ggml.scores"),
                        fmt::format("{} scores", scores.size()),
                        fmt::format("one for each of {} tokens", tokens_.size()));
    }
    if (!std::ranges::all_of(scores, [](double score) { return std::isfinite(score); })) {
      throw input_error(file_.where("tokenizer.ggml.scores"), "a score that is not finite",
                        "finite numbers");
    }
    const bool by_number = gguf_type(file_).gguf.architecture.starts_with("gemma");
    struct Merge {
      std::string_view left, right;
      std::size_t left_id, right_id, left_size, right_size;
      double score;
    };
    std::vector<Merge> merges;
    const auto id_of = [&](std::string_view text) -> std::optional<std::size_t> {
      const auto found = ids_.find(text);
      if (found == ids_.end() || !may_merge(tokens_[found->second])) return std::nullopt;
      return found->second;
    };
    for (std::size_t id = 0; id < tokens_.size(); ++id) {
      if (!tokens_[id].kept || !may_merge(tokens_[id])) continue;
      const std::string_view text = tokens_[id].text;
      const auto begin = merges.size();
      for (std::size_t cut = 1; cut < text.size(); ++cut) {
        if ((static_cast<unsigned char>(text[cut]) & 0xC0u) == 0x80u) continue;
        const std::string_view left = text.substr(0, cut);
        const std::string_view right = text.substr(cut);
        const auto left_id = id_of(left);
        const auto right_id = id_of(right);
        if (!left_id || !right_id) continue;
        merges.push_back({left, right, *left_id, *right_id, characters(left), characters(right),
                          by_number ? -static_cast<double>(id) : scores[id]});
      }
      std::sort(merges.begin() + static_cast<std::ptrdiff_t>(begin), merges.end(),
                [](const Merge& a, const Merge& b) {
                  return std::pair(a.left_id, a.right_id) < std::pair(b.left_id, b.right_id);
                });
    }
    std::stable_sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
      if (a.score != b.score) return a.score > b.score;
      return std::pair(a.left_size, a.right_size) > std::pair(b.left_size, b.right_size);
    });
    bool first = true;
    for (const Merge& merge : merges) {
      out += first ? "[" : ",[";
      first = false;
      append_json_string(out, merge.left);
      out += ',';
      append_json_string(out, merge.right);
      out += ']';
    }
  }

  static bool may_merge(const Token& token) {
    return token.type == kNormal || token.type == kUserDefined;
  }

  const GgufFile& file_;
  bool byte_level_ = false;
  std::vector<Token> tokens_;                              // by id
  std::unordered_map<std::string_view, std::size_t> ids_;  // without those that are left out
};

}  // namespace

std::string gguf_tokenizer_json(const GgufFile& file) { return TokenizerWriter(file).text(); }

}  // namespace assay
