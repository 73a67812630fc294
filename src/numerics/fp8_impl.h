// Widens FP8 (e4m3) to its products with scales. Included like kernels_impl.h.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "numerics/kernels.h"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace assay {
namespace {

constexpr std::size_t kFp8Block = 32;  // elements that are widened together

// Without products of subnormals, which are slow on some CPUs.
ASSAY_INLINE float widen_e4m3(std::uint8_t bits) {
  const std::uint32_t magnitude = bits & 0x7Fu;
  const float normal = std::bit_cast<float>((magnitude << 20) + (120u << 23));
  const float subnormal = static_cast<float>(static_cast<std::int32_t>(magnitude)) * 0x1p-9F;
  const auto value = std::bit_cast<std::uint32_t>(magnitude < 8 ? subnormal : normal);
  const std::uint32_t number = magnitude == 0x7F ? 0x7FC00000u : value;
  return std::bit_cast<float>(number | static_cast<std::uint32_t>(bits & 0x80u) << 24);
}

// out[i] = scale * element i, for 32 elements. In F16, an element's bits are its 256th part; F16's
// subnormals are converted exactly in every floating-point mode.
ASSAY_INLINE void widen_fp8(const std::byte* elements, float scale, float* out) {
#if defined(__AVX512BW__)
  const __m512i bytes =
      _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(elements)));
  const __m512i largest = _mm512_set1_epi16(0x3F80);
  const __m512i magnitude = _mm512_and_si512(_mm512_slli_epi16(bytes, 7), largest);
  const __m512i number = _mm512_mask_mov_epi16(
      magnitude, _mm512_cmpeq_epi16_mask(magnitude, largest), _mm512_set1_epi16(0x7E00));
  const __m512i halves = _mm512_or_si512(
      number, _mm512_and_si512(bytes, _mm512_set1_epi16(static_cast<short>(0x8000))));
  const __m512 one = _mm512_set1_ps(256);
  const __m512 by = _mm512_set1_ps(scale);
  const __m512 low = _mm512_cvtph_ps(_mm512_castsi512_si256(halves));
  const __m512 high = _mm512_cvtph_ps(_mm512_extracti64x4_epi64(halves, 1));
  _mm512_storeu_ps(out, _mm512_mul_ps(_mm512_mul_ps(low, one), by));
  _mm512_storeu_ps(out + 16, _mm512_mul_ps(_mm512_mul_ps(high, one), by));
#elif defined(__AVX2__)
  const __m256 one = _mm256_set1_ps(256);
  const __m256 by = _mm256_set1_ps(scale);
  const __m256i largest = _mm256_set1_epi16(0x3F80);
  for (int i = 0; i < 2; ++i) {
    const __m256i bytes =
        _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(elements + 16 * i)));
    const __m256i magnitude = _mm256_and_si256(_mm256_slli_epi16(bytes, 7), largest);
    const __m256i number = _mm256_blendv_epi8(magnitude, _mm256_set1_epi16(0x7E00),
                                              _mm256_cmpeq_epi16(magnitude, largest));
    const __m256i halves = _mm256_or_si256(
        number, _mm256_and_si256(bytes, _mm256_set1_epi16(static_cast<short>(0x8000))));
    const __m256 low = _mm256_cvtph_ps(_mm256_castsi256_si128(halves));
    const __m256 high = _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1));
    _mm256_storeu_ps(out + 16 * i, _mm256_mul_ps(_mm256_mul_ps(low, one), by));
    _mm256_storeu_ps(out + 16 * i + 8, _mm256_mul_ps(_mm256_mul_ps(high, one), by));
  }
#else
  for (std::size_t i = 0; i < kFp8Block; ++i) {
    out[i] = widen_e4m3(static_cast<std::uint8_t>(elements[i])) * scale;
  }
#endif
}

// The products of 32 elements: as BF16 if N rounds weights, otherwise as F32.
template <class N, class Out>
ASSAY_INLINE void put_fp8(const std::byte* elements, float scale, Out* out) {
  if constexpr (N::kRoundsWeights) {
    alignas(64) float values[kFp8Block];
    widen_fp8(elements, scale, values);
    for (std::size_t i = 0; i < kFp8Block; ++i) {
      const auto bits = std::bit_cast<std::uint32_t>(round_to_bf16(values[i]));
      out[i] = static_cast<std::uint16_t>(bits >> 16);
    }
  } else {
    widen_fp8(elements, scale, out);
  }
}

// The first row of w.
template <class N, class Out>
ASSAY_INLINE void widen_fp8_row(const Weight& w, Out* out) {
  const BlockScales& scales = *w.block_scales;
  const float* scale = &scales.values[w.first_row / scales.rows * scales.per_row];
  for (std::size_t begin = 0; begin < w.cols; begin += scales.cols, ++scale) {
    const std::size_t end = std::min(begin + scales.cols, w.cols);
    std::size_t i = begin;
    for (; i + kFp8Block <= end; i += kFp8Block) put_fp8<N>(w.data + i, *scale, out + i);
    if (i == end) continue;
    std::byte padded[kFp8Block] = {};
    Out last[kFp8Block];
    std::memcpy(padded, w.data + i, end - i);
    put_fp8<N>(padded, *scale, last);
    std::memcpy(out + i, last, (end - i) * sizeof(Out));
  }
}

}  // namespace
}  // namespace assay
