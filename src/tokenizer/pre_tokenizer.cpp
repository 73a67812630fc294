#include "tokenizer/pre_tokenizer.h"

#include <algorithm>

#include "tokenizer/normalizer.h"

namespace assay {
namespace {

std::vector<std::string_view> after_spaces(std::string_view text) {
  std::vector<std::string_view> pieces;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size() - 1) + 1;
    pieces.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return pieces;
}

std::vector<std::string_view> before_meta_symbols(std::string_view text) {
  std::vector<std::string_view> pieces;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(kMetaSymbol, 1), text.size());
    pieces.push_back(text.substr(0, end));
    text.remove_prefix(end);
  }
  return pieces;
}

}  // namespace

std::vector<std::string_view> PreTokenizer::pieces(std::string& text, bool is_first) const {
  switch (kind) {
    case Kind::kPattern:
      return splitter->split(text);
    case Kind::kAfterSpaces:
      return after_spaces(text);
    case Kind::kMetaspace:
      text = with_meta_symbols(text);
      if ((prepend == Prepend::kAlways || (prepend == Prepend::kFirst && is_first)) &&
          !text.starts_with(kMetaSymbol)) {
        text.insert(0, kMetaSymbol);
      }
      if (split) return before_meta_symbols(text);
      break;
    case Kind::kNone:
      break;
  }
  return {text};
}

}  // namespace assay
