// What a reader takes for one character: Unicode's extended grapheme clusters, as the tokenizers
// library has them (Unicode 17), but for two rules: consonants that a virama joins (Indic
// conjuncts) are clusters of their own here, and a symbol that is no emoji any more may be joined
// to another.
#pragma once

#include <cstddef>
#include <string_view>

namespace assay {

// Where the cluster ends that begins at `begin` (below text.size()) in valid UTF-8. `begin` is the
// text's start or another cluster's end.
std::size_t grapheme_end(std::string_view text, std::size_t begin);

}  // namespace assay
