// Text to pieces: the split pattern, run by PCRE2.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

namespace assay {

// Of GPT-2; ByteLevel's own.
inline constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// Whether the pattern is one whose pieces are verified to be those of tokenizers. Each of them
// matches anywhere in any text.
bool is_verified_pattern(std::string_view pattern);

// All of them, for the tests that verify.
std::vector<std::string_view> verified_patterns();

class Splitter {
 public:
  // pattern: a verified one.
  explicit Splitter(std::string_view pattern);
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
