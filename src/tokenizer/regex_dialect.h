// A split pattern as Oniguruma reads it (the library that tokenizers splits by), for PCRE2.
#pragma once

#include <string>
#include <string_view>

namespace assay {

// What PCRE2, with UTF, UCP and MULTILINE, matches as Oniguruma matches `pattern`. Throws an input
// error about `where` for what is known to differ and is not translated.
std::string pcre2_pattern(std::string_view pattern, std::string_view where);

}  // namespace assay
