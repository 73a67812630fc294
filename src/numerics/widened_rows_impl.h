// Widens packed rows, a few at a time, so that kernels read them from the cache. Included
// like kernels_impl.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "numerics/fp8_impl.h"
#include "numerics/kernels.h"
#include "numerics/matmul_impl.h"
#include "numerics/mxfp4_impl.h"

namespace assay {
namespace {

// Bytes of widened rows.
constexpr std::size_t kWidenedBytes = 192 << 10;
// How far ahead to prefetch, in bytes.
constexpr std::size_t kWidenAhead = 4096;

// Calls widen(row, n) for each of the rows, in order; n: how many were before.
template <class Widen>
ASSAY_INLINE void for_each_row(const Weight& rows, const Widen& widen) {
  // Whole rows ahead, of those that count.
  const std::size_t stride = rows.row_step * rows.row_bytes();
  const std::size_t ahead = (kWidenAhead / stride + 1) * stride;
  for (std::size_t r = 0; r < rows.rows; ++r) {
    const Weight row = rows.from_row(r, 1);
    for (std::size_t i = 0; i < row.row_bytes(); i += 64) {
      __builtin_prefetch(row.data + i + ahead, 0, 3);
    }
    widen(row, r);
  }
}

// Writes the rows of a packed weight to `to`, which has room for them as F32, and returns them.
template <class N>
Weight widen_rows(const Weight& rows, std::byte* to) {
  if (rows.is_mxfp4()) {
    auto* out = reinterpret_cast<std::uint16_t*>(to);
    for_each_row(rows, [&](const Weight& row, std::size_t r) {
      for (std::size_t i = 0; i < rows.cols / kMxfp4Block; ++i) {
        widen_mxfp4(row.data + i * kMxfp4Bytes, static_cast<std::size_t>(row.scales[i]),
                    out + r * rows.cols + i * kMxfp4Block);
      }
    });
    return {to, DType::kBF16, rows.rows, rows.cols};
  }
  using Out = std::conditional_t<N::kRoundsWeights, std::uint16_t, float>;
  auto* out = reinterpret_cast<Out*>(to);
  for_each_row(
      rows, [&](const Weight& row, std::size_t r) { widen_fp8_row<N>(row, out + r * rows.cols); });
  return {to, N::kRoundsWeights ? DType::kBF16 : DType::kF32, rows.rows, rows.cols};
}

// Calls body(rows, first) with rows [first, first + rows.rows) of a packed w in BF16 or F32, for
// all of [begin, end).
template <class N, class Body>
ASSAY_INLINE void in_widened_rows(const Weight& w, std::size_t begin, std::size_t end,
                                  const Body& body) {
  constexpr std::size_t kSize = N::kRoundsWeights ? sizeof(std::uint16_t) : sizeof(float);
  const std::size_t most =
      std::max<std::size_t>(kWidenedBytes / (w.cols * kSize) / kGroup, 1) * kGroup;
  std::byte* widened = widened_scratch(std::min(most, end - begin) * w.cols * kSize);
  for (std::size_t first = begin; first < end; first += most) {
    body(widen_rows<N>(w.from_row(first, std::min(most, end - first)), widened), first);
  }
}

}  // namespace
}  // namespace assay
