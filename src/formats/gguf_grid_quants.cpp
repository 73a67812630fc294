// Blocks of 256 elements (https://github.com/ggml-org/ggml, src/ggml-common.h). d is an F16 scale,
// a group is 8 elements with an entry of a grid (in IQ3, two entries of 4), and s a scale of some
// groups. Where signs are 7 bits, the eighth makes the number of minuses even.
//
//   IQ2_XXS  d, for 4 groups: 4 bytes of entries, then 4 * 7 bits of signs and 4 of s;
//            x = +- ((d * (0.5 + s)) * 0.25) * level
//   IQ2_XS   d, 32 words with 9 bits of an entry and 7 of signs, 16 nibbles s for 2 groups; x as
//            above
//   IQ2_S    d, 32 bytes: the low bits of entries, 32 bytes of signs, 32 pairs of high bits, 16
//            nibbles s for 2 groups; x as above
//   IQ3_XXS  d, 64 entries, 8 words with 4 * 7 bits of signs and 4 of s;
//            x = +- ((d * (0.5 + s)) * 0.5) * level
//   IQ3_S    d, 64 bytes: the low bits of entries, 64 high bits, 32 bytes of signs, 8 nibbles s;
//            x = +- (d * (1 + 2 s)) * level
//   IQ1_S    d, 32 bytes: the low bits of entries, 8 words with 4 * 3 high bits, 3 bits of s and
//            one that makes 1/8 negative; x = (d * (2 s + 1)) * (level +- 1/8)
//   IQ1_M    32 bytes: the low bits of entries, 32 nibbles with 3 high bits and one that makes 1/8
//            negative, 4 words with 4 * 3 bits of s for 2 groups and 4 bits of d; x as in IQ1_S
//   TQ1_0    48 bytes of 5 elements, 4 bytes of 4, d: the top two bits of the byte times 3^i, times
//            3, are element i of a byte, 0 to 2; x = d * (q - 1)
//   TQ2_0    64 bytes of pairs of bits, d; x = d * (q - 1)
#include "formats/gguf_grid_quants.h"

#include <array>
#include <bit>

#include "base/half.h"
#include "formats/gguf_grids.h"

namespace assay {
namespace {

using GridByte = std::uint8_t;

constexpr std::array<float, 4> kLevelsIq1 = {-1, 0, 1};
constexpr std::array<float, 4> kLevelsIq2 = {8, 25, 43};
constexpr std::array<float, 16> kLevelsIq3Xxs = {4, 12, 20, 28, 36, 44, 52, 62};
constexpr std::array<float, 16> kLevelsIq3S = {1, 3, 5, 7, 9, 11, 13, 15};
constexpr float kDeltaIq1 = 0.125F;

unsigned word_at(const GridByte* at) { return at[0] | static_cast<unsigned>(at[1]) << 8; }
std::uint32_t dword_at(const GridByte* at) { return word_at(at) | word_at(at + 2) << 16; }
float scale_at(const GridByte* at) { return f16_to_f32(static_cast<std::uint16_t>(word_at(at))); }
unsigned nibble_at(const GridByte* at, unsigned i) { return at[i / 2] >> (i % 2 * 4) & 15u; }

// Number n of four with 7 bits.
unsigned signs_of_7(std::uint32_t packed, unsigned n) {
  const std::uint32_t bits = packed >> (7 * n) & 127u;
  return bits | static_cast<unsigned>(std::popcount(bits) & 1) << 7;
}

// Eight elements of a grid with 2 bits, or four of one with 4; bit i of signs: minus.
void put_eight(float factor, unsigned entry, unsigned signs, float* x) {
  for (unsigned i = 0; i < 8; ++i) {
    const float value = factor * kLevelsIq2[entry >> 2 * i & 3u];
    x[i] = (signs >> i & 1u) != 0 ? -value : value;
  }
}
void put_four(float factor, unsigned entry, const std::array<float, 16>& levels, unsigned signs,
              float* x) {
  for (unsigned i = 0; i < 4; ++i) {
    const float value = factor * levels[entry >> 4 * i & 15u];
    x[i] = (signs >> i & 1u) != 0 ? -value : value;
  }
}
void put_iq1(float factor, unsigned entry, bool negative, float* x) {
  const float delta = negative ? -kDeltaIq1 : kDeltaIq1;
  for (unsigned i = 0; i < 8; ++i) x[i] = factor * (kLevelsIq1[entry >> 2 * i & 3u] + delta);
}

}  // namespace

void iq2_xxs(const std::uint8_t* b, float* x) {
  const float d = scale_at(b);
  for (unsigned s = 0; s < 8; ++s) {
    const GridByte* entries = b + 2 + 8 * s;
    const std::uint32_t rest = dword_at(entries + 4);
    const float factor = d * (0.5F + static_cast<float>(rest >> 28)) * 0.25F;
    for (unsigned g = 0; g < 4; ++g) {
      put_eight(factor, kGridIq2Xxs[entries[g]], signs_of_7(rest, g), x + 32 * s + 8 * g);
    }
  }
}

void iq2_xs(const std::uint8_t* b, float* x) {
  const float d = scale_at(b);
  for (unsigned g = 0; g < 32; ++g) {
    const unsigned word = word_at(b + 2 + 2 * g);
    const float factor = d * (0.5F + static_cast<float>(nibble_at(b + 66, g / 2))) * 0.25F;
    put_eight(factor, kGridIq2Xs[word & 511u], signs_of_7(word >> 9, 0), x + 8 * g);
  }
}

void iq2_s(const std::uint8_t* b, float* x) {
  const float d = scale_at(b);
  for (unsigned g = 0; g < 32; ++g) {
    const unsigned entry = b[2 + g] | (b[66 + g / 4] >> (g % 4 * 2) & 3u) << 8;
    const float factor = d * (0.5F + static_cast<float>(nibble_at(b + 74, g / 2))) * 0.25F;
    put_eight(factor, kGridIq2S[entry], b[34 + g], x + 8 * g);
  }
}

void iq3_xxs(const std::uint8_t* b, float* x) {
  const float d = scale_at(b);
  for (unsigned s = 0; s < 8; ++s) {
    const std::uint32_t rest = dword_at(b + 66 + 4 * s);
    const float factor = d * (0.5F + static_cast<float>(rest >> 28)) * 0.5F;
    for (unsigned g = 0; g < 8; ++g) {
      const unsigned signs = signs_of_7(rest, g / 2) >> (g % 2 * 4);
      put_four(factor, kGridIq3Xxs[b[2 + 8 * s + g]], kLevelsIq3Xxs, signs, x + 32 * s + 4 * g);
    }
  }
}

void iq3_s(const std::uint8_t* b, float* x) {
  const float d = scale_at(b);
  for (unsigned g = 0; g < 64; ++g) {
    const unsigned entry = b[2 + g] | (b[66 + g / 8] >> (g % 8) & 1u) << 8;
    const float factor = d * static_cast<float>(1 + 2 * nibble_at(b + 106, g / 8));
    const unsigned signs = b[74 + g / 2] >> (g % 2 * 4);
    put_four(factor, kGridIq3S[entry], kLevelsIq3S, signs, x + 4 * g);
  }
}

void iq1_s(const std::uint8_t* b, float* x) {
  const float d = scale_at(b);
  for (unsigned g = 0; g < 32; ++g) {
    const unsigned word = word_at(b + 34 + g / 4 * 2);
    const unsigned entry = b[2 + g] | (word >> (g % 4 * 3) & 7u) << 8;
    const float factor = d * static_cast<float>(2 * (word >> 12 & 7u) + 1);
    put_iq1(factor, kGridIq1[entry], (word & 0x8000u) != 0, x + 8 * g);
  }
}

void iq1_m(const std::uint8_t* b, float* x) {
  const GridByte* scales = b + 48;
  unsigned half = 0;
  for (unsigned i = 0; i < 4; ++i) half |= word_at(scales + 2 * i) >> 12 << 4 * i;
  const float d = f16_to_f32(static_cast<std::uint16_t>(half));
  for (unsigned g = 0; g < 32; ++g) {
    const unsigned s = g / 2;
    const unsigned scale = word_at(scales + s / 4 * 2) >> (s % 4 * 3) & 7u;
    const unsigned high = nibble_at(b + 32, g);
    const unsigned entry = b[g] | (high & 7u) << 8;
    put_iq1(d * static_cast<float>(2 * scale + 1), kGridIq1[entry], (high & 8u) != 0, x + 8 * g);
  }
}

void tq1_0(const std::uint8_t* b, float* x) {
  constexpr std::array<unsigned, 5> kPowers = {1, 3, 9, 27, 81};
  const float d = scale_at(b + 52);
  // Each byte of a run has elements that are a run's length apart.
  const auto put_run = [&](const GridByte* from, unsigned bytes, unsigned each) {
    for (unsigned i = 0; i < each; ++i) {
      for (unsigned n = 0; n < bytes; ++n) {
        const unsigned rest = from[n] * kPowers[i] & 255u;
        *x++ = d * static_cast<float>(static_cast<int>(rest * 3 >> 8) - 1);
      }
    }
  };
  put_run(b, 32, 5);
  put_run(b + 32, 16, 5);
  put_run(b + 48, 4, 4);
}

void tq2_0(const std::uint8_t* b, float* x) {
  const float d = scale_at(b + 64);
  for (unsigned i = 0; i < 256; ++i) {
    const unsigned q = b[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3u;
    x[i] = d * static_cast<float>(static_cast<int>(q) - 1);
  }
}

}  // namespace assay
