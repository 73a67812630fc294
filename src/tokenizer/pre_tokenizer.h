// The pre-tokenizer of a tokenizer.json: splits normalized text into pieces. Merges never cross
// them.
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

// What happens to the matches at which a text is split.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

// Split, Digits, WhitespaceSplit, CharDelimiterSplit, Punctuation, FixedLength.
struct SplitStep {
  std::variant<Splitter, CharKind> at;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;  // the text between matches is treated as the matches
};

// Whitespace: runs of word characters, and of what is neither that nor white space.
struct WordsStep {};

// UnicodeScripts: runs of one script. Characters that go with any script, such as spaces, stay with
// what comes before them; at the beginning of a text they are lost.
struct ScriptsStep {};

// Metaspace: meta symbols for spaces, and perhaps a piece before each of them.
struct MetaspaceStep {
  enum class Prepend {
    kNever,
    kFirst,
    kAlways
  };  // kFirst: only at the beginning of the whole text
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

  // The pieces of valid UTF-8, in order, as views of `text` or of what is put into `made`.
  // from_start: the number of bytes that come from the first character of the whole text
  // (normalizer.h). A ByteLevel step at the end keeps the bytes as they are unless spells_bytes.
  // Thread-safe.
  std::vector<std::string_view> pieces(std::string_view text, std::size_t from_start,
                                       std::deque<std::string>& made) const;

  // Whether pieces are bytes that the model knows by their symbols.
  bool ends_in_bytes() const {
    return !spells_bytes && !steps.empty() && std::holds_alternative<ByteLevelStep>(steps.back());
  }

  std::vector<Step> steps;
  bool spells_bytes = false;  // the model expects the bytes' symbols
};

}  // namespace assay
