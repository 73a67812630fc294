// Translates split patterns from Oniguruma, which the tokenizers library uses, to PCRE2.
#pragma once

#include <string>
#include <string_view>

namespace assay {

// A pattern that PCRE2, with UTF, UCP and MULTILINE, matches like Oniguruma matches `pattern`.
// Throws an input error about `where` for syntax that differs and is not translated.
std::string pcre2_pattern(std::string_view pattern, std::string_view where);

}  // namespace assay
