// Widens rows of MXFP4 to BF16, a few at a time, so that kernels read them from the cache. Included
// like kernels_impl.h.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "numerics/kernels.h"
#include "numerics/mxfp4.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace assay {
namespace {

// Bytes of widened rows.
constexpr std::size_t kWidenedBytes = 192 << 10;
// How far ahead to prefetch, in bytes.
constexpr std::size_t kWidenAhead = 4096;

// The low nibble of a byte is the element before that of the high one.
ASSAY_INLINE void widen_mxfp4(const std::byte* block, const Mxfp4Values& values,
                              std::uint16_t* out) {
#if defined(__AVX512BW__)
  const __m512i table =
      _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(values)));
  const __m512i bytes =
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block)));
  // A word's low five bits choose from the table, which is there twice: the fifth does not count.
  const __m512i nibbles = _mm512_or_si512(bytes, _mm512_slli_epi32(bytes, 12));
  _mm512_storeu_si512(out, _mm512_permutexvar_epi16(nibbles, table));
#elif defined(__AVX2__)
  const __m128i low_half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(values));
  const __m128i high_half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(values + 8));
  const __m128i byte_mask = _mm_set1_epi16(0xFF);
  const __m128i low_bytes =
      _mm_packus_epi16(_mm_and_si128(low_half, byte_mask), _mm_and_si128(high_half, byte_mask));
  const __m128i high_bytes =
      _mm_packus_epi16(_mm_srli_epi16(low_half, 8), _mm_srli_epi16(high_half, 8));
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(block));
  const __m128i mask = _mm_set1_epi8(15);
  const __m128i even = _mm_and_si128(bytes, mask);
  const __m128i odd = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask);
  const __m128i nibbles[] = {_mm_unpacklo_epi8(even, odd), _mm_unpackhi_epi8(even, odd)};
  for (int i = 0; i < 2; ++i) {
    const __m128i low = _mm_shuffle_epi8(low_bytes, nibbles[i]);
    const __m128i high = _mm_shuffle_epi8(high_bytes, nibbles[i]);
    auto* to = reinterpret_cast<__m128i*>(out + 16 * i);
    _mm_storeu_si128(to, _mm_unpacklo_epi8(low, high));
    _mm_storeu_si128(to + 1, _mm_unpackhi_epi8(low, high));
  }
#else
  for (std::size_t i = 0; i < kMxfp4Bytes; ++i) {
    const auto byte = static_cast<unsigned>(block[i]);
    out[2 * i] = values[byte & 15u];
    out[2 * i + 1] = values[byte >> 4];
  }
#endif
}

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
        widen_mxfp4(row.data + i * kMxfp4Bytes,
                    kMxfp4Values[static_cast<std::size_t>(row.scales[i])], out + i * kMxfp4Block);
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
