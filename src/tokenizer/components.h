// The parts of a tokenizer.json around its model. Each reader takes the file's root and throws an
// input error that names the component it does not know.
#pragma once

#include <cstdint>
#include <vector>

#include "tokenizer/decoder.h"
#include "tokenizer/json_fields.h"
#include "tokenizer/normalizer.h"
#include "tokenizer/pre_tokenizer.h"

namespace assay {

std::vector<NormalizerStep> read_normalizer(const JsonFields& root);

struct PreTokenizerPart {
  PreTokenizer pre_tokenizer;
  bool byte_level;  // whether pieces go to the model in the byte alphabet
};
PreTokenizerPart read_pre_tokenizer(const JsonFields& root);

// The ids that the post-processor puts around a text's own.
struct Template {
  std::vector<std::int64_t> before;
  std::vector<std::int64_t> after;
};
Template read_post_processor(const JsonFields& root);

// byte_level: what the pre-tokenizer says. The decoder must undo the same.
Decoder read_decoder(const JsonFields& root, bool byte_level);

}  // namespace assay
