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

// The token ids of an array of any shape and numeric type. Throws an input error unless all are
// integers.
std::vector<std::int64_t> read_ids(const ArrayView& array, std::string_view where);
std::vector<std::int64_t> read_ids(const ArrayFile& file, std::string_view name);

// Prompt and continuation, as transformers' generate returns them.
//   prompt    the prompt's tokens
//   text      what an engine calls its generated_ids: prompt and continuation, or new tokens only,
//             of which there may be none
//   expected  a reference's prompt and continuation, or empty: it distinguishes new tokens from
//             another prompt, and decides if both readings fit
// None if the text begins neither with the prompt nor like the reference's continuation.
std::optional<std::vector<std::int64_t>> whole_text(std::span<const std::int64_t> prompt,
                                                    std::span<const std::int64_t> text,
                                                    std::span<const std::int64_t> expected);

// The length of a text of prompt and continuation up to its first end token after the prompt, which
// it includes; the whole length if there is none.
std::size_t length_to_end(std::span<const std::int64_t> text, std::size_t prompt,
                          std::span<const std::int64_t> ends);

// The text without what batches are padded with after an end token: end tokens, or several times
// the same token.
std::span<const std::int64_t> without_padding(std::span<const std::int64_t> text,
                                              std::size_t prompt,
                                              std::span<const std::int64_t> ends);

}  // namespace assay
