#include "tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

namespace assay {

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  for (std::size_t i = 0; i < tokens_.size(); ++i) {
    by_first_byte_[static_cast<unsigned char>(tokens_[i].content[0])].push_back(i);
  }
  for (std::vector<std::size_t>& places : by_first_byte_) {
    std::ranges::sort(places, std::greater(),
                      [&](std::size_t i) { return tokens_[i].content.size(); });
  }
}

std::optional<AddedTokens::Match> AddedTokens::find(std::string_view text, std::size_t from) const {
  for (std::size_t at = from; at < text.size(); ++at) {
    for (const std::size_t i : by_first_byte_[static_cast<unsigned char>(text[at])]) {
      if (text.substr(at).starts_with(tokens_[i].content)) return Match{at, &tokens_[i]};
    }
  }
  return std::nullopt;
}

}  // namespace assay
