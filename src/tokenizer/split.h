// Finds a pattern's matches in a text: with PCRE2, but like Oniguruma in the tokenizers library.
#pragma once

#include <cstddef>
#include <memory>
#include <string_view>
#include <vector>

namespace assay {

// A stretch of a text: a match of the pattern, or the text between two matches.
struct Stretch {
  std::size_t begin;
  std::size_t end;
  bool is_match;
};

class Splitter {
 public:
  // Throws an input error about `where` for an invalid pattern, or one that PCRE2 would match
  // differently (regex_dialect.h).
  explicit Splitter(std::string_view pattern, std::string_view where = "split pattern");
  ~Splitter();
  Splitter(Splitter&&) noexcept;
  Splitter& operator=(Splitter&&) noexcept;

  // The stretches of valid UTF-8, in order; together they are the text. Matches may be empty.
  // Thread-safe.
  std::vector<Stretch> find(std::string_view text) const;

  // A lower bound on the length of a match in bytes.
  std::size_t least_match() const;

  // The texts of the stretches.
  std::vector<std::string_view> split(std::string_view text) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace assay
