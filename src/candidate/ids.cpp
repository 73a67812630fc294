#include "candidate/ids.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "assay/error.h"

namespace assay {

std::vector<std::int64_t> read_ids(const ArrayView& array, std::string_view where) {
  if (array.dtype != DType::kI64 && array.dtype != DType::kI32) {
    throw input_error(where, dtype_name(array.dtype), "I64 or I32 token ids");
  }
  const std::size_t item = dtype_size(array.dtype);
  std::vector<std::int64_t> ids;
  for (std::size_t at = 0; at < array.bytes.size(); at += item) {
    std::int32_t narrow = 0;
    std::int64_t id = 0;
    if (item == sizeof narrow) {
      std::memcpy(&narrow, &array.bytes[at], item);
      id = narrow;
    } else {
      std::memcpy(&id, &array.bytes[at], item);
    }
    ids.push_back(id);
  }
  return ids;
}

std::vector<std::int64_t> read_ids(const ArrayFile& file, std::string_view name) {
  return read_ids(file.load(name).view, fmt::format("{}: array '{}'", file.path().string(), name));
}

std::size_t continuation_begin(std::span<const std::int64_t> prompt,
                               std::span<const std::int64_t> text, std::string_view where) {
  if (text.size() < prompt.size() || !std::ranges::equal(prompt, text.first(prompt.size()))) {
    throw input_error(where, "does not begin with the prompt's tokens",
                      "prompt and continuation, as transformers' generate returns them");
  }
  return prompt.size();
}

}  // namespace assay
