// Text to pieces: the split pattern, run by PCRE2.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

namespace assay {

// The one pattern whose pieces are verified to be those of tokenizers (Qwen2, Qwen2.5, Qwen3).
extern const std::string_view kSplitPattern;

class Splitter {
 public:
  Splitter();
  ~Splitter();
  Splitter(Splitter&&) noexcept;
  Splitter& operator=(Splitter&&) noexcept;

  // Cuts valid UTF-8 into its pieces, in order; together they are the text. Thread-safe.
  std::vector<std::string_view> split(std::string_view text) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace assay
