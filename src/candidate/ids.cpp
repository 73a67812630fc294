#include "candidate/ids.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "assay/error.h"
#include "base/widen.h"

namespace assay {

std::vector<std::int64_t> read_ids(const ArrayView& array, std::string_view where) {
  const std::size_t item = dtype_size(array.dtype);
  std::vector<std::int64_t> ids(array.bytes.size() / item);
  if (array.dtype == DType::kI64) {
    std::memcpy(ids.data(), array.bytes.data(), ids.size() * item);
    return ids;
  }
  // Token ids are far below what a double holds exactly.
  std::vector<double> values(ids.size());
  widen(array.dtype, array.bytes.data(), static_cast<std::ptrdiff_t>(item), std::span(values));
  constexpr double kMost = 0x1p52;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (!(std::abs(values[i]) < kMost) || values[i] != std::floor(values[i])) {
      throw input_error(where, fmt::format("{} {} at {}", dtype_name(array.dtype), values[i], i),
                        "token ids: whole numbers");
    }
    ids[i] = static_cast<std::int64_t>(values[i]);
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
