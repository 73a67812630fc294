// User-perceived characters: Unicode's extended grapheme clusters, as in the tokenizers library
// (Unicode 17), with two exceptions: consonants joined by a virama (Indic conjuncts) are separate
// clusters here, and a symbol that is no longer an emoji may be joined to another one.
#pragma once

#include <cstddef>
#include <string_view>

namespace assay {

// The end of the cluster that begins at `begin` (below text.size()) in valid UTF-8. `begin` is the
// start of the text or the end of a cluster.
std::size_t grapheme_end(std::string_view text, std::size_t begin);

}  // namespace assay
