// What the names in tokenizer.ggml.pre stand for.
#pragma once

#include <span>
#include <string_view>

namespace assay {

struct GgufPreTokenizer {
  // Applied one after the other, each to the pieces of those before.
  std::span<const std::string_view> patterns;
  bool nfc = false;
  bool ignore_merges = false;
  bool adds_bos = false;  // where tokenizer.ggml.add_bos_token does not say
  // The tokens are spelled as SentencePiece spells them, U+2581 for spaces, not as visible bytes.
  bool raw = false;
};

// Null for a name that is not known.
const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name);

}  // namespace assay
