// Widens packed rows to BF16, a few at a time, so that kernels read them from the cache. Included
// like kernels_impl.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "numerics/kernels.h"
#include "numerics/matmul_impl.h"
#include "numerics/mxfp4_impl.h"

namespace assay {
namespace {

// Bytes of widened rows.
constexpr std::size_t kWidenedBytes = 192 << 10;
// How far ahead to prefetch, in bytes.
constexpr std::size_t kWidenAhead = 4096;

// Calls body(rows, first) with rows [first, first + rows.rows) of w in BF16, for all of [begin,
// end).
template <class Body>
ASSAY_INLINE void in_widened_rows(const Weight& w, std::size_t begin, std::size_t end,
                                  const Body& body) {
  const std::size_t most = std::max<std::size_t>(kWidenedBytes / (w.cols * 2) / kGroup, 1) * kGroup;
  auto* widened = reinterpret_cast<std::uint16_t*>(
      widened_scratch(std::min(most, end - begin) * w.cols * sizeof(std::uint16_t)));
  const std::size_t blocks = w.cols / kMxfp4Block;
  constexpr std::size_t kPerLine = 64 / kMxfp4Bytes;
  // Whole rows ahead, of those that count.
  const std::size_t stride = w.row_step * w.row_bytes();
  const std::size_t ahead = (kWidenAhead / stride + 1) * stride;
  for (std::size_t first = begin; first < end; first += most) {
    const std::size_t count = std::min(most, end - first);
    for (std::size_t r = 0; r < count; ++r) {
      const Weight row = w.from_row(first + r, 1);
      std::uint16_t* out = widened + r * w.cols;
      const auto widen = [&](std::size_t i) {
        widen_mxfp4(row.data + i * kMxfp4Bytes, static_cast<std::size_t>(row.scales[i]),
                    out + i * kMxfp4Block);
      };
      std::size_t i = 0;
      for (; i + kPerLine <= blocks; i += kPerLine) {
        __builtin_prefetch(row.data + i * kMxfp4Bytes + ahead, 0, 3);
        for (std::size_t n = 0; n < kPerLine; ++n) widen(i + n);
      }
      for (; i < blocks; ++i) widen(i);
    }
    const Weight rows{reinterpret_cast<const std::byte*>(widened), DType::kBF16, count, w.cols};
    body(rows, first);
  }
}

}  // namespace
}  // namespace assay
