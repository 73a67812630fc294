// The normalizer of a tokenizer.json: what happens to the text before it is cut.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace assay {

// U+2581, which SentencePiece writes where a space was.
inline constexpr std::string_view kMetaSymbol = "\u2581";

// A copy with the meta symbol in place of each space.
std::string with_meta_symbols(std::string_view text);

enum class NormalizerStep {
  kNfc,
  kPrependMeta,    // the meta symbol before a text that is not empty
  kReplaceSpaces,  // each space by the meta symbol
};

// The steps in order, on valid UTF-8.
std::string normalize(const std::vector<NormalizerStep>& steps, std::string_view text);

}  // namespace assay
