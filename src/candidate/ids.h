// Token ids as other programs write them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "formats/array_file.h"

namespace assay {

// The token ids of an array of any shape: integers of any type, or whole numbers in another. Throws
// an input error for anything else.
std::vector<std::int64_t> read_ids(const ArrayView& array, std::string_view where);
std::vector<std::int64_t> read_ids(const ArrayFile& file, std::string_view name);

// Prompt and continuation, as transformers' generate returns them.
//   prompt    the prompt's tokens
//   text      what an engine calls its generated_ids: prompt and continuation, or new tokens only
//   expected  a reference's prompt and continuation, or nothing: it tells new tokens from another
//             prompt, and decides where both readings fit
// None where the text neither begins with the prompt nor, alone, as the reference's continuation.
std::optional<std::vector<std::int64_t>> whole_text(std::span<const std::int64_t> prompt,
                                                    std::span<const std::int64_t> text,
                                                    std::span<const std::int64_t> expected);

}  // namespace assay
