// The normalizer of a tokenizer.json: what happens to the text before it is cut.
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

// A copy with `to` wherever `from`, which is not empty, stands.
std::string replaced(std::string_view text, std::string_view from, std::string_view to);

struct PrependStep {
  std::string text;  // before a text that is not empty
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
struct NmtStep {};           // SentencePiece's: no control characters, spaces for other white space
struct StripAccentsStep {};  // no combining marks

using NormalizerStep = std::variant<UnicodeForm, PrependStep, ReplaceStep, StripStep, LowercaseStep,
                                    NmtStep, StripAccentsStep, Charsmap>;

struct Normalized {
  std::string text;
  std::size_t from_start = 0;  // so many bytes stand for the original's first character
};

// The steps in order, on valid UTF-8.
Normalized normalize(const std::vector<NormalizerStep>& steps, std::string_view text);

}  // namespace assay
