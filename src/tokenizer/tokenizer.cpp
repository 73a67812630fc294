#include "assay/tokenizer.h"

#include <fmt/format.h>

#include "assay/error.h"
#include "tokenizer/nfc.h"
#include "tokenizer/split.h"
#include "tokenizer/tokenizer_json.h"
#include "tokenizer/utf8.h"

namespace assay {

struct Tokenizer::Impl {
  bool nfc = false;
  Splitter splitter;
  Bpe bpe;
  AddedTokens added;
  TokenBytes tokens;
  std::vector<bool> special;  // by id

  // Text without added tokens.
  void encode_plain(std::string_view text, std::vector<std::int64_t>& ids) const {
    const std::string normalized = nfc ? assay::nfc(text) : std::string(text);
    for (const std::string_view piece : splitter.split(normalized)) bpe.encode(piece, ids);
  }
};

Tokenizer::Tokenizer() : impl_(std::make_unique<Impl>()) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::load(const std::filesystem::path& tokenizer_json) {
  TokenizerJson json = read_tokenizer_json(tokenizer_json);
  Tokenizer tokenizer;
  Impl& impl = *tokenizer.impl_;
  impl.nfc = json.nfc;
  impl.bpe = std::move(json.bpe);
  impl.tokens = std::move(json.tokens);
  impl.special.resize(impl.tokens.size());
  for (const AddedToken& token : json.added) impl.special[token.id] = token.special;
  impl.added = AddedTokens(std::move(json.added));
  return tokenizer;
}

std::vector<std::int64_t> Tokenizer::encode(std::string_view utf8, std::string_view where) const {
  if (const std::size_t bad = utf8_valid_prefix(utf8); bad < utf8.size()) {
    throw input_error(where,
                      fmt::format("byte 0x{:02X} at offset {} is no UTF-8",
                                  static_cast<unsigned char>(utf8[bad]), bad),
                      "valid UTF-8");
  }
  std::vector<std::int64_t> ids;
  ids.reserve(utf8.size() / 4 + 4);
  std::size_t at = 0;
  while (const auto match = impl_->added.find(utf8, at)) {
    impl_->encode_plain(utf8.substr(at, match->begin - at), ids);
    ids.push_back(match->token->id);
    at = match->begin + match->token->content.size();
  }
  impl_->encode_plain(utf8.substr(at), ids);
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int64_t> ids, bool skip_special) const {
  std::string bytes;
  for (const std::int64_t id : ids) {
    if (id < 0 || id >= size()) continue;
    const auto token = static_cast<std::size_t>(id);
    if (!(skip_special && impl_->special[token])) bytes += impl_->tokens[token];
  }
  return utf8_lossy(bytes);
}

std::string Tokenizer::token_bytes(std::int64_t id) const {
  // A negative id is larger than any.
  return std::string(impl_->tokens[static_cast<std::size_t>(id)]);
}

std::int64_t Tokenizer::size() const noexcept {
  return static_cast<std::int64_t>(impl_->tokens.size());
}

}  // namespace assay
