#include "tokenizer/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <unordered_set>

#include "assay/error.h"
#include "base/utf8.h"
#include "tokenizer/tokenizer_json.h"

namespace assay {

struct Tokenizer::Impl {
  explicit Impl(TokenizerJson json)
      : parts(std::move(json)), added(std::move(parts.added)), kinds(parts.texts.size()) {
    std::unordered_set<std::string_view> special;
    for (const AddedToken& token : added.tokens()) {
      if (token.special) special.insert(token.content);
    }
    // The tokenizers library checks whether the text that it would decode is a special token's
    // content.
    for (const AddedToken& token : added.tokens()) {
      kinds[token.id] = {.added = true, .special = special.contains(token.pattern)};
    }
  }

  // The normalized text between added tokens. from_start: see Normalized.
  void encode_plain(std::string_view text, std::size_t from_start,
                    std::vector<std::int64_t>& ids) const {
    std::deque<std::string> made;
    for (const std::string_view piece : parts.pre_tokenizer.pieces(text, from_start, made)) {
      assay::encode(parts.model, piece, ids);
    }
  }

  void encode(std::string_view text, std::vector<std::int64_t>& ids) const {
    for (const AddedTokens::Part& part : added.split(text, /*normalized=*/false)) {
      if (part.token != nullptr) {
        ids.push_back(part.token->id);
        continue;
      }
      const Normalized normalized = normalize(parts.normalizer, part.text);
      const std::size_t from_start = part.begin == 0 ? normalized.from_start : 0;
      for (const AddedTokens::Part& inner : added.split(normalized.text, /*normalized=*/true)) {
        if (inner.token != nullptr) {
          ids.push_back(inner.token->id);
        } else {
          encode_plain(inner.text, from_start - std::min(from_start, inner.begin), ids);
        }
      }
    }
  }

  struct Kind {
    bool added = false;
    bool special = false;  // skipped by skip_special
  };

  TokenizerJson parts;
  AddedTokens added;
  std::vector<Kind> kinds;  // by id
};

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;

Tokenizer Tokenizer::load(const std::filesystem::path& tokenizer_json) {
  return Tokenizer(std::make_unique<Impl>(read_tokenizer_json(tokenizer_json)));
}

Tokenizer Tokenizer::parse(const std::string& file, std::string_view json) {
  return Tokenizer(std::make_unique<Impl>(parse_tokenizer_json(file, json)));
}

std::vector<std::int64_t> Tokenizer::encode(std::string_view utf8, std::string_view where,
                                            bool add_special_tokens) const {
  if (const std::size_t bad = utf8_valid_prefix(utf8); bad < utf8.size()) {
    throw input_error(where,
                      fmt::format("byte 0x{:02X} at offset {} is not UTF-8",
                                  static_cast<unsigned char>(utf8[bad]), bad),
                      "valid UTF-8");
  }
  const Template& around = impl_->parts.around;
  std::vector<std::int64_t> ids;
  ids.reserve(utf8.size() / 4 + 4);
  if (add_special_tokens) ids.insert(ids.end(), around.before.begin(), around.before.end());
  impl_->encode(utf8, ids);
  if (add_special_tokens) ids.insert(ids.end(), around.after.begin(), around.after.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const std::int64_t> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  for (const std::int64_t id : ids) {
    const auto token = static_cast<std::size_t>(id);  // a negative id is larger than any
    if (!impl_->parts.texts.contains(token)) continue;
    if (!(skip_special && impl_->kinds[token].special)) {
      tokens.emplace_back(impl_->parts.texts[token]);
    }
  }
  return assay::decode(impl_->parts.decoder, std::move(tokens));
}

std::string Tokenizer::token_bytes(std::int64_t id) const {
  return bytes_of_token(impl_->parts.decoder, impl_->parts.texts[static_cast<std::size_t>(id)]);
}

std::optional<std::int64_t> Tokenizer::id_of(std::string_view token) const {
  for (const AddedToken& added : impl_->added.tokens()) {
    if (added.content == token) return added.id;
  }
  for (std::size_t id = 0; id < impl_->parts.texts.size(); ++id) {
    if (!impl_->kinds[id].added && impl_->parts.texts.contains(id) &&
        impl_->parts.texts[id] == token) {
      return static_cast<std::int64_t>(id);
    }
  }
  return std::nullopt;
}

std::int64_t Tokenizer::size() const noexcept {
  return static_cast<std::int64_t>(impl_->parts.texts.size());
}

}  // namespace assay
