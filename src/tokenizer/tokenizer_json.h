// The contents of a tokenizer.json.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe.h"

namespace assay {

// What decode appends for the token or the added token of this text.
std::string decoded_bytes(std::string_view token);

struct VocabEntry {
  TokenId id;
  std::string bytes;  // decoded_bytes
};

// Consistent: no id or text twice, every merge between tokens that exist, a token for every byte.
struct TokenizerJson {
  bool nfc = false;
  std::vector<VocabEntry> vocab;
  Bpe bpe;
  std::vector<AddedToken> added;
  std::size_t size = 0;  // highest id + 1
};

// Throws an input error that names file and field.
TokenizerJson read_tokenizer_json(const std::filesystem::path& path);

// The same for the file's contents; `file` names them in errors.
TokenizerJson parse_tokenizer_json(const std::string& file, std::string_view text);

}  // namespace assay
