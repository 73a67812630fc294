// SentencePiece's precompiled rules of normalization: a binary map of texts to what they become.
//
//   u32 (little endian)  bytes of the trie
//   u32 ...              the trie, a double array as darts-clone makes it: from a node, the byte c
//                        leads to the unit at base ^ c if that unit's label is c
//   text                 what the values point into, each entry up to the next NUL; UTF-8
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace assay {

class Charsmap {
 public:
  // Throws an input error about `where` for bytes that are no such map: every node that can be
  // reached lies in the trie, and every value in the text, at the beginning of a character.
  Charsmap(std::string_view bytes, std::string_view where);

  struct Rewritten {
    std::string text;
    std::size_t from_start;
  };
  // A copy by the rules, as the tokenizers library applies them. from_start: so many bytes at the
  // beginning stand for the first character of some original; the copy's are counted alike.
  Rewritten rewrite(std::string_view text, std::size_t from_start) const;
  // Bytes of the longest text that any becomes, at least 1.
  std::size_t longest() const;

 private:
  void check(std::string_view where) const;
  std::optional<std::string_view> find(std::string_view text) const;

  std::vector<std::uint32_t> units_;
  std::string texts_;
};

}  // namespace assay
