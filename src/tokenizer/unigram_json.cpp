// The model of a tokenizer.json with "type": "Unigram": vocab [["token", score], ...] by id,
// unk_id, byte_fallback.
#include <fmt/format.h>

#include <cmath>
#include <optional>
#include <vector>

#include "tokenizer/models.h"

namespace assay {
namespace {

namespace dom = simdjson::dom;

// ["token", -3.5]
std::optional<Unigram::Token> read_token(const dom::element& value) {
  dom::array pair;
  Unigram::Token token{};
  if (value.get(pair) != simdjson::SUCCESS || pair.size() != 2 ||
      pair.at(0).get(token.text) != simdjson::SUCCESS ||
      pair.at(1).get(token.score) != simdjson::SUCCESS || !std::isfinite(token.score)) {
    return std::nullopt;
  }
  return token;
}

std::optional<TokenId> read_unknown(const JsonFields& model, std::size_t tokens) {
  if (!model.find("unk_id")) return std::nullopt;
  const std::uint64_t id = model.unsigned_integer("unk_id");
  if (id >= tokens) {
    throw model.error("unk_id", std::to_string(id), fmt::format("an id below {}", tokens));
  }
  return static_cast<TokenId>(id);
}

}  // namespace

UnigramParts read_unigram(const JsonFields& model) {
  model.expect_string("type", "Unigram");
  model.allow_only({"type", "unk_id", "vocab", "byte_fallback"});
  const dom::array list = model.array("vocab");
  // size() stops counting at 0xFFFFFF, which is more than there may be.
  if (list.size() == 0 || list.size() > kMaxTokenId + 1) {
    throw model.error("vocab", fmt::format("{} tokens", list.size()),
                      fmt::format("1 to {} tokens", kMaxTokenId + 1));
  }
  VocabTable table(list.size());
  std::vector<Unigram::Token> tokens;
  tokens.reserve(list.size());
  for (const dom::element value : list) {
    const std::optional<Unigram::Token> token = read_token(value);
    const std::size_t id = tokens.size();
    if (!token) {
      throw model.error(fmt::format("vocab[{}]", id), json_text(value), R"(["token", score])");
    }
    if (!table.insert(token->text, static_cast<TokenId>(id))) {
      throw model.error(fmt::format("vocab[{}]", id),
                        fmt::format("token '{}' appears twice", token->text), "once");
    }
    tokens.push_back(*token);
  }
  const bool falls_back = model.find("byte_fallback") && model.boolean("byte_fallback");
  Unigram unigram(tokens, read_unknown(model, tokens.size()), falls_back);
  return {std::move(table), std::move(unigram)};
}

}  // namespace assay
