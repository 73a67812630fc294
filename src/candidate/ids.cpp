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
  if (ids.empty()) return ids;  // there is no memory to copy from
  if (array.dtype == DType::kI64) {
    std::memcpy(ids.data(), array.bytes.data(), ids.size() * item);
    return ids;
  }
  // Token ids are exact in a double.
  std::vector<double> values(ids.size());
  widen(array.dtype, array.bytes.data(), static_cast<std::ptrdiff_t>(item), std::span(values));
  constexpr double kMost = 0x1p52;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (!(std::abs(values[i]) < kMost) || values[i] != std::floor(values[i])) {
      throw input_error(where, fmt::format("{} {} at {}", dtype_name(array.dtype), values[i], i),
                        "token ids: integers");
    }
    ids[i] = static_cast<std::int64_t>(values[i]);
  }
  return ids;
}

std::vector<std::int64_t> read_ids(const ArrayFile& file, std::string_view name) {
  // More than any model reads; the ids are copied several times.
  constexpr std::int64_t kMost = std::int64_t{1} << 24;
  const std::int64_t count = element_count(file.form_of(name).shape, name);
  if (count > kMost) {
    throw input_error(fmt::format("{}: array '{}'", file.path().string(), name),
                      fmt::format("{} tokens", count), fmt::format("at most {}", kMost));
  }
  return read_ids(file.load(name).view, fmt::format("{}: array '{}'", file.path().string(), name));
}

std::optional<std::vector<std::int64_t>> whole_text(std::span<const std::int64_t> prompt,
                                                    std::span<const std::int64_t> text,
                                                    std::span<const std::int64_t> expected) {
  const auto begins_with_prompt = [&](std::span<const std::int64_t> ids) {
    return ids.size() >= prompt.size() && std::ranges::equal(prompt, ids.first(prompt.size()));
  };
  const auto equal_tokens = [](std::span<const std::int64_t> a, std::span<const std::int64_t> b) {
    return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
  };
  if (text.empty()) return std::vector(prompt.begin(), prompt.end());
  const bool whole = begins_with_prompt(text);
  std::size_t as_whole = 0;
  std::size_t as_new = 0;
  if (begins_with_prompt(expected)) {
    const std::span<const std::int64_t> continuation = expected.subspan(prompt.size());
    if (whole) as_whole = equal_tokens(text.subspan(prompt.size()), continuation);
    as_new = equal_tokens(text, continuation);
  }
  // A text that agrees completely needs no other reading.
  if (whole && text.size() > prompt.size() && as_whole == text.size() - prompt.size()) {
    return std::vector(text.begin(), text.end());
  }
  // New tokens may happen to begin like the prompt, but then the reference's do too.
  if (as_new > as_whole && (!whole || as_new >= prompt.size())) {
    std::vector<std::int64_t> ids(prompt.begin(), prompt.end());
    ids.insert(ids.end(), text.begin(), text.end());
    return ids;
  }
  if (!whole) return std::nullopt;
  return std::vector(text.begin(), text.end());
}

std::size_t length_to_end(std::span<const std::int64_t> text, std::size_t prompt,
                          std::span<const std::int64_t> ends) {
  if (text.size() <= prompt) return text.size();
  const auto end = std::ranges::find_first_of(text.subspan(prompt), ends);
  return static_cast<std::size_t>(end - text.begin()) + (end == text.end() ? 0 : 1);
}

std::span<const std::int64_t> without_padding(std::span<const std::int64_t> text,
                                              std::size_t prompt,
                                              std::span<const std::int64_t> ends) {
  const std::size_t length = length_to_end(text, prompt, ends);
  const std::span<const std::int64_t> rest = text.subspan(length);
  if (rest.empty()) return text;
  const bool same = std::ranges::all_of(rest, [&](std::int64_t id) { return id == rest[0]; });
  const bool is_end = std::ranges::find(ends, rest[0]) != ends.end();
  return same && (is_end || rest.size() > 1) ? text.first(length) : text;
}

}  // namespace assay
