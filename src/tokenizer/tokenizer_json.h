// The contents of a tokenizer.json.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/added_tokens.h"
#include "tokenizer/components.h"
#include "tokenizer/models.h"
#include "tokenizer/token_texts.h"

namespace assay {

// The contents are consistent: ids and texts are unique, and every merge is between existing
// tokens.
struct TokenizerJson {
  std::vector<NormalizerStep> normalizer;
  PreTokenizer pre_tokenizer;
  TokenModel model;
  std::vector<AddedToken> added;
  TokenTexts texts;  // an added token's is its pattern
  Decoder decoder;
  Template around;
};

// Throws an input error that names file and field.
TokenizerJson read_tokenizer_json(const std::filesystem::path& path);

// The same for the file's contents; `file` names them in errors. `padded`: SIMDJSON_PADDING bytes
// after the text may be read. Otherwise the parser makes a copy.
TokenizerJson parse_tokenizer_json(const std::string& file, std::string_view text,
                                   bool padded = false);

}  // namespace assay
