#include "tokenizer/token_texts.h"

namespace assay {

void TokenTexts::reserve(std::size_t ids, std::size_t bytes) {
  places_.reserve(ids);
  texts_.reserve(bytes);
}

void TokenTexts::set(TokenId id, std::string_view text) {
  if (id >= places_.size()) places_.resize(std::size_t{id} + 1);
  places_[id] = {static_cast<std::uint32_t>(texts_.size()),
                 static_cast<std::uint32_t>(text.size())};
  texts_ += text;
}

}  // namespace assay
