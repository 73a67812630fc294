// Token ids as other programs write them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "assay/array_file.h"

namespace assay {

// The token ids of an array of any shape: integers of any type, or whole numbers in another. Throws
// an input error for anything else.
std::vector<std::int64_t> read_ids(const ArrayView& array, std::string_view where);
std::vector<std::int64_t> read_ids(const ArrayFile& file, std::string_view name);

// The position of a text's first token behind its prompt. Throws an input error when the text,
// found at `where`, does not begin with the prompt.
std::size_t continuation_begin(std::span<const std::int64_t> prompt,
                               std::span<const std::int64_t> text, std::string_view where);

}  // namespace assay
