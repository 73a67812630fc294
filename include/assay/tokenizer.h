// The checkpoint's tokenizer.json, exactly: text to ids and back.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace assay {

// Byte-level BPE as HuggingFace tokenizers runs it: added tokens split out, NFC, the split pattern,
// byte alphabet, merges. Thread-safe once loaded.
class Tokenizer {
 public:
  // Reads tokenizer.json. A component this reader does not know is an input error that names it:
  // guessing would give wrong ids.
  static Tokenizer load(const std::filesystem::path& tokenizer_json);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // Ids of the text, special tokens inside the text recognised, nothing added around it; equals
  // tokenizers' encode(text, add_special_tokens=False).ids. Invalid UTF-8 is an input error with
  // the byte offset. `where` names the text in the message ("prompt 2").
  std::vector<std::int64_t> encode(std::string_view utf8, std::string_view where = "text") const;

  // Text of the ids; bytes that are no valid UTF-8 become U+FFFD, ids without a token are skipped,
  // as tokenizers' decode does. skip_special drops tokens marked special (not all added ones).
  std::string decode(std::span<const std::int64_t> ids, bool skip_special = false) const;

  // One token's own bytes, as decode joins them; empty for an id without a token. May be part of a
  // UTF-8 sequence.
  std::string token_bytes(std::int64_t id) const;

  // Number of ids with a token: highest id + 1.
  std::int64_t size() const noexcept;

 private:
  Tokenizer();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace assay
