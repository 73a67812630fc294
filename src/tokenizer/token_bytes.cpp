#include "tokenizer/token_bytes.h"

#include "tokenizer/byte_alphabet.h"

namespace assay {

void TokenBytes::reserve(std::size_t ids, std::size_t bytes) {
  places_.reserve(ids);
  bytes_.reserve(bytes);
}

void TokenBytes::add(TokenId id, std::string_view text) {
  if (id >= places_.size()) places_.resize(std::size_t{id} + 1);
  const std::size_t begin = bytes_.size();
  if (!append_symbols_as_bytes(text, bytes_)) bytes_ += text;
  places_[id] = {static_cast<std::uint32_t>(begin),
                 static_cast<std::uint32_t>(bytes_.size() - begin)};
}

}  // namespace assay
