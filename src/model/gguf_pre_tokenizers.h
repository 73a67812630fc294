// The meaning of the names in tokenizer.ggml.pre.
#pragma once

#include <span>
#include <string_view>

namespace assay {

struct GgufPreTokenizer {
  // Applied one after the other, each to the pieces of the previous one.
  std::span<const std::string_view> patterns;
  bool nfc = false;
  bool ignore_merges = false;
  bool adds_bos = false;  // unless tokenizer.ggml.add_bos_token says otherwise
  // How the tokens are spelled.
  enum class Spelling {
    kVisibleBytes,  // GPT-2's
    kMetaSpaces,    // SentencePiece's: U+2581 for spaces, "<0x0A>" for bytes without a token
    kPlain          // as they are
  };
  Spelling spelling = Spelling::kVisibleBytes;
};

// Null for an unknown name.
const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name);

}  // namespace assay
