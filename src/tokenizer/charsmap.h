// SentencePiece's precompiled normalization rules: a binary map from texts to their replacements.
//
//   u32 (little endian)  bytes of the trie
//   u32 ...              the trie, a double array made by darts-clone: from a node, the byte c
//                        leads to the unit at base ^ c if that unit's label is c
//   text                 UTF-8; the values point into it, and each entry ends at the next NUL
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
  // Throws an input error about `where` if the bytes are not a valid map: every reachable node must
  // be in the trie, and every value must point to the beginning of a character in the text.
  Charsmap(std::string_view bytes, std::string_view where);

  struct Rewritten {
    std::string text;
    std::size_t from_start;
  };
  // A normalized copy, with the rules applied as the tokenizers library does. from_start: the
  // number of bytes at the beginning that come from the original's first character, updated for the
  // copy.
  Rewritten rewrite(std::string_view text, std::size_t from_start) const;
  // Length in bytes of the longest replacement, at least 1.
  std::size_t longest() const;

 private:
  void check(std::string_view where) const;
  std::optional<std::string_view> find(std::string_view text) const;

  std::vector<std::uint32_t> units_;
  std::string texts_;
};

}  // namespace assay
