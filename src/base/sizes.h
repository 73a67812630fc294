// Arithmetic on sizes, offsets and counts from outside, which may be anything, without wrap-around.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace assay {

// The most axes an array of a file may have: numpy's limit.
inline constexpr std::size_t kMaxAxes = 64;

// a + b and a * b; none when T cannot represent the result.
template <std::integral T>
std::optional<T> sum_of(T a, T b) {
  T result{};
  if (__builtin_add_overflow(a, b, &result)) return std::nullopt;
  return result;
}
template <std::integral T>
std::optional<T> product_of(T a, T b) {
  T result{};
  if (__builtin_mul_overflow(a, b, &result)) return std::nullopt;
  return result;
}

// Whether `count` pieces of `each` bytes, starting at `offset`, fit within `size` bytes.
inline bool lies_within(std::uint64_t offset, std::uint64_t count, std::uint64_t each,
                        std::uint64_t size) {
  const std::optional<std::uint64_t> bytes = product_of(count, each);
  const std::optional<std::uint64_t> end = bytes ? sum_of(offset, *bytes) : std::nullopt;
  return end && *end <= size;
}

}  // namespace assay
