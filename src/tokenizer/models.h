// The model of a tokenizer.json, which turns pieces of text into ids.
#pragma once

#include <cstdint>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenizer/bpe.h"
#include "tokenizer/json_fields.h"
#include "tokenizer/unigram.h"
#include "tokenizer/vocab_table.h"

namespace assay {

inline constexpr std::uint64_t kMaxTokenId = (1u << 22) - 1;

using TokenModel = std::variant<Bpe, Unigram>;

// Appends the ids of one piece.
inline void encode(const TokenModel& model, std::string_view piece,
                   std::vector<std::int64_t>& ids) {
  std::visit([&](const auto& of_kind) { of_kind.encode(piece, ids); }, model);
}

// Reads the field "model" of a tokenizer.json with type Unigram. The table's texts are the file's.
struct UnigramParts {
  VocabTable vocab;
  Unigram model;
};
UnigramParts read_unigram(const JsonFields& model);

}  // namespace assay
