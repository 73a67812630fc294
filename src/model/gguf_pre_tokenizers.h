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
  // How the tokens are spelled.
  enum class Spelling {
    kVisibleBytes,  // GPT-2's
    kMetaSpaces,    // SentencePiece's: U+2581 for spaces, "<0x0A>" for what has no token
    kPlain          // as they are
  };
  Spelling spelling = Spelling::kVisibleBytes;
};

// Null for a name that is not known.
const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name);

}  // namespace assay
