// The pre-tokenizer of a tokenizer.json: normalized text to the pieces that merges stay within.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/split.h"

namespace assay {

struct PreTokenizer {
  enum class Kind {
    kNone,         // the text is one piece
    kPattern,      // the matches of `splitter`
    kAfterSpaces,  // a piece ends behind each space
    kMetaspace,    // meta symbols for spaces, and perhaps a piece before each of them
  };
  enum class Prepend { kNever, kFirst, kAlways };  // kFirst: where the text as a whole begins

  // The pieces of valid UTF-8, in order; together they are `text`, which kMetaspace changes.
  // is_first: nothing of the whole text comes before. Thread-safe.
  std::vector<std::string_view> pieces(std::string& text, bool is_first) const;

  Kind kind = Kind::kNone;
  std::optional<Splitter> splitter;   // kPattern
  Prepend prepend = Prepend::kNever;  // kMetaspace: a meta symbol, unless there is one
  bool split = false;                 // kMetaspace
};

}  // namespace assay
