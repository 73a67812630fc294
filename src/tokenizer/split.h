// Where a pattern matches in a text: by PCRE2, as Oniguruma does it for tokenizers.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

namespace assay {

// A stretch of a text that a pattern matches, or one between such.
struct Stretch {
  std::size_t begin;
  std::size_t end;
  bool is_match;
};

class Splitter {
 public:
  // Throws an input error about `where` for a pattern that is none, or that PCRE2 would not match
  // alike (regex_dialect.h).
  explicit Splitter(std::string_view pattern, std::string_view where = "split pattern");
  ~Splitter();
  Splitter(Splitter&&) noexcept;
  Splitter& operator=(Splitter&&) noexcept;

  // The stretches of valid UTF-8, in order; together they are the text. Matches may be empty.
  // Thread-safe.
  std::vector<Stretch> find(std::string_view text) const;

  // Bytes that a match has at least; may say less than it could.
  std::size_t least_match() const;

  // The stretches' texts.
  std::vector<std::string_view> split(std::string_view text) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace assay
