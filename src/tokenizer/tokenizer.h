// The checkpoint's tokenizer.json, exactly: text to ids and back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace assay {

// As HuggingFace tokenizers runs it: BPE on bytes (Qwen, Llama 3, OLMo 2, Phi-4, Mistral-Nemo) or
// as SentencePiece has it (Llama 2, Mistral 7B, Phi-3, Gemma), or Unigram (llm-jp, Sarashina):
// added tokens split out, the text normalized, cut into pieces, and these turned into tokens.
// Thread-safe once loaded.
class Tokenizer {
 public:
  // Reads tokenizer.json. A component this reader does not know is an input error that names it:
  // guessing would give wrong ids.
  static Tokenizer load(const std::filesystem::path& tokenizer_json);
  // The same of the file's text; `file` names it in messages.
  static Tokenizer parse(const std::string& file, std::string_view json);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // Ids of the text, special tokens inside the text recognised. Equals tokenizers' encode(text,
  // add_special_tokens).ids: with it, the ids that the post-processor puts around the text (a
  // beginning-of-text token, say; nothing in Qwen) are there too, as in transformers'
  // tokenizer(text); a chat template has written its own. Invalid UTF-8 is an input error with the
  // byte offset. `where` names the text in the message ("prompt 2").
  std::vector<std::int64_t> encode(std::string_view utf8, std::string_view where = "text",
                                   bool add_special_tokens = false) const;

  // Text of the ids; bytes that are not valid UTF-8 become U+FFFD, ids without a token are skipped,
  // as tokenizers' decode does. skip_special drops tokens marked special (not all added ones).
  // SentencePiece tokenizers may drop a space at the beginning.
  std::string decode(std::span<const std::int64_t> ids, bool skip_special = false) const;

  // One token's own bytes, as decode joins them; empty for an id without a token. May be part of a
  // UTF-8 sequence.
  std::string token_bytes(std::int64_t id) const;

  // The id of the token that the file spells like this ("<|im_end|>", "<s>"); tokenizers'
  // token_to_id. Looks at every token.
  std::optional<std::int64_t> id_of(std::string_view token) const;

  // Number of ids with a token: highest id + 1.
  std::int64_t size() const noexcept;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace assay
