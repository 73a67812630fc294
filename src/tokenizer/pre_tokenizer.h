// The pre-tokenizer of a tokenizer.json: normalized text to the pieces that merges stay within.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenizer/split.h"

namespace assay {

// A kind of characters, each of which is a match by itself.
enum class CharKind {
  kNumeric,     // Rust's char::is_numeric
  kWhiteSpace,  // Rust's char::is_whitespace
  kPunctuation,
};

// What becomes of the matches that a text is cut at.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// Split, Digits, WhitespaceSplit, CharDelimiterSplit, Punctuation, FixedLength.
struct SplitStep {
  std::variant<Splitter, CharKind> at;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // what is between matches counts as the matches
};

// Whitespace: runs of word characters, and of what is neither that nor white space.
struct WordsStep {};

// UnicodeScripts: runs of one script. What goes with any script, as spaces do, stays with what
// comes before it; at the beginning of a text it is lost.
struct ScriptsStep {};

// Metaspace: meta symbols for spaces, and perhaps a piece before each of them.
struct MetaspaceStep {
  enum class Prepend { kNever, kFirst, kAlways };  // kFirst: where the text as a whole begins
  std::string replacement;
  Prepend prepend = Prepend::kNever;  // the symbol, unless there is one
  bool split = false;
};

// ByteLevel: pieces by GPT-2's pattern, then each byte's visible symbol.
struct ByteLevelStep {
  bool add_prefix_space = false;
  std::optional<Splitter> splitter;
};

struct PreTokenizer {
  using Step = std::variant<SplitStep, WordsStep, ScriptsStep, MetaspaceStep, ByteLevelStep>;

  // The pieces of valid UTF-8, in order. from_start: so many bytes stand for the first character of
  // the whole text (normalizer.h). They are
  // views of `text` or of what is put into `made`. A ByteLevel step at the end leaves the bytes as
  // they are unless spells_bytes. Thread-safe.
  std::vector<std::string_view> pieces(std::string_view text, std::size_t from_start,
                                       std::deque<std::string>& made) const;

  // Whether pieces are bytes that the model knows by their symbols.
  bool ends_in_bytes() const {
    return !spells_bytes && !steps.empty() && std::holds_alternative<ByteLevelStep>(steps.back());
  }

  std::vector<Step> steps;
  bool spells_bytes = false;  // the model wants their symbols
};

}  // namespace assay
