// The normalizer of a tokenizer.json: what happens to the text before it is split.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenizer/charsmap.h"
#include "tokenizer/split.h"
#include "tokenizer/unicode_forms.h"

namespace assay {

// U+2581, which SentencePiece writes where a space was.
inline constexpr std::string_view kMetaSymbol = "\u2581";

// A copy with every `from`, which is not empty, replaced by `to`.
std::string replaced(std::string_view text, std::string_view from, std::string_view to);

struct PrependStep {
  std::string text;  // put before a text that is not empty
};
struct ReplaceStep {
  std::variant<std::string, Splitter> from;
  std::string to;
};
struct StripStep {  // white space
  bool left;
  bool right;
};
struct LowercaseStep {};
struct NmtStep {
};  // SentencePiece's: removes control characters, turns other white space into spaces
struct StripAccentsStep {};  // removes combining marks

using NormalizerStep = std::variant<UnicodeForm, PrependStep, ReplaceStep, StripStep, LowercaseStep,
                                    NmtStep, StripAccentsStep, Charsmap>;

struct Normalized {
  std::string text;
  std::size_t from_start = 0;  // bytes that come from the original's first character
};

// Applies the steps in order to valid UTF-8.
Normalized normalize(const std::vector<NormalizerStep>& steps, std::string_view text);

}  // namespace assay
