// Widens blocks of MXFP4 to BF16. Included like kernels_impl.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "numerics/elements.h"
#include "numerics/mxfp4.h"
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace assay {
namespace {

// The 32 values of a block in BF16. The low nibble of a byte is the element before that of the high
// one.
ASSAY_INLINE void widen_mxfp4(const std::byte* block, std::size_t scale, std::uint16_t* out) {
#if defined(__AVX512BW__)
  const __m512i table = _mm512_broadcast_i64x4(
      _mm256_load_si256(reinterpret_cast<const __m256i*>(kMxfp4Values[scale])));
  const __m512i bytes =
      _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block)));
  // A word's low five bits choose from the table, which is there twice: the fifth does not count.
  const __m512i nibbles = _mm512_or_si512(bytes, _mm512_slli_epi32(bytes, 12));
  _mm512_storeu_si512(out, _mm512_permutexvar_epi16(nibbles, table));
#elif defined(__AVX2__)
  const auto* halves = reinterpret_cast<const __m128i*>(&kMxfp4Halves[scale]);
  const __m256i low_bytes = _mm256_broadcastsi128_si256(_mm_load_si128(halves));
  const __m256i high_bytes = _mm256_broadcastsi128_si256(_mm_load_si128(halves + 1));
  // Unpacking works within halves of a register: with these bytes in the middle exchanged, all
  // elements end up in order.
  const __m128i bytes = _mm_shuffle_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block)),
                                          _MM_SHUFFLE(3, 1, 2, 0));
  const __m128i mask = _mm_set1_epi8(15);
  const __m128i even = _mm_and_si128(bytes, mask);
  const __m128i odd = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask);
  const __m256i nibbles =
      _mm256_set_m128i(_mm_unpackhi_epi8(even, odd), _mm_unpacklo_epi8(even, odd));
  const __m256i low = _mm256_shuffle_epi8(low_bytes, nibbles);
  const __m256i high = _mm256_shuffle_epi8(high_bytes, nibbles);
  auto* to = reinterpret_cast<__m256i*>(out);
  _mm256_storeu_si256(to, _mm256_unpacklo_epi8(low, high));
  _mm256_storeu_si256(to + 1, _mm256_unpackhi_epi8(low, high));
#elif defined(__ARM_NEON)
  const uint8x16_t low_bytes = vld1q_u8(kMxfp4Halves[scale].low);
  const uint8x16_t high_bytes = vld1q_u8(kMxfp4Halves[scale].high);
  const uint8x16_t bytes = vld1q_u8(reinterpret_cast<const std::uint8_t*>(block));
  const uint8x16_t even = vandq_u8(bytes, vdupq_n_u8(15));
  const uint8x16_t odd = vshrq_n_u8(bytes, 4);
  const uint8x16_t nibbles[] = {vzip1q_u8(even, odd), vzip2q_u8(even, odd)};
  auto* to = reinterpret_cast<std::uint8_t*>(out);
  for (int i = 0; i < 2; ++i) {
    const uint8x16_t low = vqtbl1q_u8(low_bytes, nibbles[i]);
    const uint8x16_t high = vqtbl1q_u8(high_bytes, nibbles[i]);
    vst1q_u8(to + 32 * i, vzip1q_u8(low, high));
    vst1q_u8(to + 32 * i + 16, vzip2q_u8(low, high));
  }
#else
  const Mxfp4Values& values = kMxfp4Values[scale];
  for (std::size_t i = 0; i < kMxfp4Bytes; ++i) {
    const auto byte = static_cast<unsigned>(block[i]);
    out[2 * i] = values[byte & 15u];
    out[2 * i + 1] = values[byte >> 4];
  }
#endif
}

}  // namespace
}  // namespace assay
