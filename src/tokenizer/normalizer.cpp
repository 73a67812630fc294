#include "tokenizer/normalizer.h"

#include "tokenizer/nfc.h"

namespace assay {

std::string with_meta_symbols(std::string_view text) {
  std::string result;
  result.reserve(text.size() + text.size() / 2);
  for (const char c : text) {
    if (c == ' ') {
      result += kMetaSymbol;
    } else {
      result += c;
    }
  }
  return result;
}

std::string normalize(const std::vector<NormalizerStep>& steps, std::string_view text) {
  std::string result(text);
  for (const NormalizerStep step : steps) {
    switch (step) {
      case NormalizerStep::kNfc:
        result = nfc(result);
        break;
      case NormalizerStep::kPrependMeta:
        if (!result.empty()) result.insert(0, kMetaSymbol);
        break;
      case NormalizerStep::kReplaceSpaces:
        result = with_meta_symbols(result);
        break;
    }
  }
  return result;
}

}  // namespace assay
