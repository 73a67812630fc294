// Block layouts of ggml (https://github.com/ggml-org/ggml, src/ggml-common.h). All numbers are
// little-endian; d, m and dmin are F16 scales.
//
//   Q4_0     32: d, 16 bytes of nibbles; x = d * (q - 8)
//   Q4_1     32: d, m, 16 bytes of nibbles; x = d * q + m
//   Q5_0     32: d, 32 high bits, 16 bytes of nibbles; x = d * (q - 16)
//   Q5_1     32: d, m, 32 high bits, 16 bytes of nibbles; x = d * q + m
//   Q8_0     32: d, 32 signed bytes; x = q * d
//   IQ4_NL   32: d, 16 bytes of nibbles; x = d * level[q]
//   MXFP4    32: a byte e, 16 bytes of nibbles; x = 2^(e - 128) * twice the e2m1 value of q
//   Q2_K    256: 16 bytes (scale low, minimum high nibble), 64 bytes of pairs of bits, d, dmin;
//                x = (d * scale) * q - dmin * minimum, a scale for 16 elements
//   Q3_K    256: 32 bytes of high bits, 64 bytes of pairs of bits, 12 bytes of 6-bit scales, d;
//                x = (d * (scale - 32)) * (q - 4), a scale for 16 elements
//   Q4_K    256: d, dmin, 12 bytes of 6-bit scales and minimums, 128 bytes of nibbles;
//                x = (d * scale) * q - dmin * minimum, a scale for 32 elements
//   Q5_K    256: as Q4_K, with 32 bytes of high bits before the nibbles
//   Q6_K    256: 128 bytes of nibbles, 64 bytes of pairs of high bits, 16 signed scales, d;
//                x = (d * scale) * (q - 32), a scale for 16 elements
//   IQ4_XS  256: d, 8 pairs of high bits, 4 bytes of low nibbles, 128 bytes of nibbles;
//                x = (d * (scale - 32)) * level[q], a scale for 32 elements
//   IQ1 to IQ3, TQ: see gguf_grid_quants.cpp
//
// A byte of nibbles holds two elements that are half a block (Q4_0, Q4_1, Q5, IQ4, MXFP4) or 32
// elements (K) apart; the earlier one is in the low nibble.
#include "formats/gguf_quants.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cassert>
#include <cstring>

#include "base/half.h"
#include "formats/gguf_grid_quants.h"

namespace assay {
namespace {

constexpr std::size_t kSuper = 256;  // elements of a K block

constexpr std::array<GgmlLayout, 25> kLayouts = {{{GgmlType::kF32, "F32", 1, 4},
                                                  {GgmlType::kF16, "F16", 1, 2},
                                                  {GgmlType::kBF16, "BF16", 1, 2},
                                                  {GgmlType::kQ4_0, "Q4_0", 32, 18},
                                                  {GgmlType::kQ4_1, "Q4_1", 32, 20},
                                                  {GgmlType::kQ5_0, "Q5_0", 32, 22},
                                                  {GgmlType::kQ5_1, "Q5_1", 32, 24},
                                                  {GgmlType::kQ8_0, "Q8_0", 32, 34},
                                                  {GgmlType::kQ2_K, "Q2_K", kSuper, 84},
                                                  {GgmlType::kQ3_K, "Q3_K", kSuper, 110},
                                                  {GgmlType::kQ4_K, "Q4_K", kSuper, 144},
                                                  {GgmlType::kQ5_K, "Q5_K", kSuper, 176},
                                                  {GgmlType::kQ6_K, "Q6_K", kSuper, 210},
                                                  {GgmlType::kIQ1_S, "IQ1_S", kSuper, 50},
                                                  {GgmlType::kIQ1_M, "IQ1_M", kSuper, 56},
                                                  {GgmlType::kIQ2_XXS, "IQ2_XXS", kSuper, 66},
                                                  {GgmlType::kIQ2_XS, "IQ2_XS", kSuper, 74},
                                                  {GgmlType::kIQ2_S, "IQ2_S", kSuper, 82},
                                                  {GgmlType::kIQ3_XXS, "IQ3_XXS", kSuper, 98},
                                                  {GgmlType::kIQ3_S, "IQ3_S", kSuper, 110},
                                                  {GgmlType::kIQ4_NL, "IQ4_NL", 32, 18},
                                                  {GgmlType::kIQ4_XS, "IQ4_XS", kSuper, 136},
                                                  {GgmlType::kTQ1_0, "TQ1_0", kSuper, 54},
                                                  {GgmlType::kTQ2_0, "TQ2_0", kSuper, 66},
                                                  {GgmlType::kMXFP4, "MXFP4", 32, 17}}};

// Types that ggml knows but this reader does not. Errors can name them.
constexpr std::array<std::pair<std::uint32_t, std::string_view>, 8> kOtherNames = {{{9, "Q8_1"},
                                                                                    {15, "Q8_K"},
                                                                                    {24, "I8"},
                                                                                    {25, "I16"},
                                                                                    {26, "I32"},
                                                                                    {27, "I64"},
                                                                                    {28, "F64"},
                                                                                    {40, "NVFP4"}}};

constexpr std::array<std::int8_t, 16> kIq4Levels = {-127, -104, -83, -65, -49, -35, -22, -10,
                                                    1,    13,   25,  38,  53,  69,  89,  113};

constexpr std::array<std::int8_t, 16> kTwiceE2m1 = {0, 1,  2,  3,  4,  6,  8,  12,
                                                    0, -1, -2, -3, -4, -6, -8, -12};

using Byte = std::uint8_t;

std::uint16_t u16(const Byte* at) {
  return static_cast<std::uint16_t>(at[0] | static_cast<unsigned>(at[1]) << 8);
}
std::uint32_t u32(const Byte* at) {
  return u16(at) | static_cast<std::uint32_t>(u16(at + 2)) << 16;
}
float half(const Byte* at) { return f16_to_f32(u16(at)); }
float signed_byte(Byte b) { return static_cast<float>(static_cast<std::int8_t>(b)); }

// The value of element i of 32 whose nibbles lie in 16 bytes.
unsigned nibble(const Byte* q, unsigned i) { return i < 16 ? q[i] & 15u : q[i - 16] >> 4; }

void q4_0(const Byte* b, float* x) {
  const float d = half(b);
  for (unsigned i = 0; i < 32; ++i) {
    x[i] = d * static_cast<float>(static_cast<int>(nibble(b + 2, i)) - 8);
  }
}

void q4_1(const Byte* b, float* x) {
  const float d = half(b);
  const float m = half(b + 2);
  for (unsigned i = 0; i < 32; ++i) x[i] = d * static_cast<float>(nibble(b + 4, i)) + m;
}

void q5_0(const Byte* b, float* x) {
  const float d = half(b);
  const std::uint32_t high = u32(b + 2);
  for (unsigned i = 0; i < 32; ++i) {
    const unsigned q = nibble(b + 6, i) | (high >> i & 1u) << 4;
    x[i] = d * static_cast<float>(static_cast<int>(q) - 16);
  }
}

void q5_1(const Byte* b, float* x) {
  const float d = half(b);
  const float m = half(b + 2);
  const std::uint32_t high = u32(b + 4);
  for (unsigned i = 0; i < 32; ++i) {
    const unsigned q = nibble(b + 8, i) | (high >> i & 1u) << 4;
    x[i] = d * static_cast<float>(q) + m;
  }
}

void q8_0(const Byte* b, float* x) {
  const float d = half(b);
  for (unsigned i = 0; i < 32; ++i) x[i] = signed_byte(b[2 + i]) * d;
}

void iq4_nl(const Byte* b, float* x) {
  const float d = half(b);
  for (unsigned i = 0; i < 32; ++i) {
    x[i] = d * static_cast<float>(kIq4Levels[nibble(b + 2, i)]);
  }
}

void mxfp4(const Byte* b, float* x) {
  // 2^(e - 128), which the two least exponents leave subnormal.
  const std::uint32_t bits = b[0] < 2 ? 0x00200000u << b[0] : (b[0] - std::uint32_t{1}) << 23;
  const float d = std::bit_cast<float>(bits);
  for (unsigned i = 0; i < 32; ++i) {
    x[i] = d * static_cast<float>(kTwiceE2m1[nibble(b + 1, i)]);
  }
}

// Element i of 256 lies in the 32 bytes of its half; each byte holds four that are 32 apart.
unsigned bit_pair(const Byte* q, unsigned i) {
  return q[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3u;
}

void q2_k(const Byte* b, float* x) {
  const Byte* q = b + 16;
  const float d = half(b + 80);
  const float dmin = half(b + 82);
  for (unsigned i = 0; i < kSuper; ++i) {
    const Byte scale = b[i / 16];
    const float dl = d * static_cast<float>(scale & 15u);
    const float ml = dmin * static_cast<float>(scale >> 4);
    x[i] = dl * static_cast<float>(bit_pair(q, i)) - ml;
  }
}

void q3_k(const Byte* b, float* x) {
  const Byte* high = b;
  const Byte* q = b + 32;
  const Byte* packed = b + 96;  // bytes 0-7: low nibbles of scales 0-7 and 8-15; 8-11: high pairs
  const float d = half(b + 108);
  for (unsigned i = 0; i < kSuper; ++i) {
    const unsigned s = i / 16;
    const unsigned low = s < 8 ? packed[s] & 15u : packed[s - 8] >> 4;
    const unsigned scale = low | (packed[8 + s % 4] >> (s / 4 * 2) & 3u) << 4;
    const float dl = d * static_cast<float>(static_cast<int>(scale) - 32);
    const bool bit = (high[i % 32] >> (i / 32) & 1u) != 0;
    x[i] = dl * static_cast<float>(static_cast<int>(bit_pair(q, i)) - (bit ? 0 : 4));
  }
}

struct ScaleAndMinimum {
  float scale;
  float minimum;
};

// Number s of the eight that 12 bytes hold, 6 bits each: the first four in bytes 0-3 and 4-7, the
// low nibbles of the others in bytes 8-11 and their high bits on top of the first four.
ScaleAndMinimum k_scale(const Byte* packed, unsigned s) {
  if (s < 4) {
    return {static_cast<float>(packed[s] & 63u), static_cast<float>(packed[s + 4] & 63u)};
  }
  const unsigned scale = (packed[s + 4] & 15u) | (static_cast<unsigned>(packed[s - 4]) >> 6) << 4;
  const unsigned minimum = packed[s + 4] >> 4 | (static_cast<unsigned>(packed[s]) >> 6) << 4;
  return {static_cast<float>(scale), static_cast<float>(minimum)};
}

// Q4_K, and Q5_K where there are high bits: 32 bytes, bit s of byte i for element 32 s + i.
void q4_or_q5_k(const Byte* b, const Byte* high, const Byte* q, float* x) {
  const float d = half(b);
  const float dmin = half(b + 2);
  for (unsigned s = 0; s < 8; ++s) {
    const auto [scale, minimum] = k_scale(b + 4, s);
    const float dl = d * scale;
    const float ml = dmin * minimum;
    for (unsigned i = 0; i < 32; ++i) {
      const Byte byte = q[s / 2 * 32 + i];
      unsigned value = s % 2 == 0 ? byte & 15u : byte >> 4;
      if (high != nullptr) value |= (high[i] >> s & 1u) << 4;
      x[32 * s + i] = dl * static_cast<float>(value) - ml;
    }
  }
}

void q4_k(const Byte* b, float* x) { q4_or_q5_k(b, nullptr, b + 16, x); }
void q5_k(const Byte* b, float* x) { q4_or_q5_k(b, b + 16, b + 48, x); }

void q6_k(const Byte* b, float* x) {
  const Byte* low = b;
  const Byte* high = b + 128;
  const Byte* scales = b + 192;
  const float d = half(b + 208);
  for (unsigned i = 0; i < kSuper; ++i) {
    const unsigned in_half = i % 128;
    const Byte byte = low[i / 128 * 64 + in_half % 64];
    const unsigned q = (in_half < 64 ? byte & 15u : byte >> 4) | bit_pair(high, i) << 4;
    const float dl = d * signed_byte(scales[i / 16]);
    x[i] = dl * static_cast<float>(static_cast<int>(q) - 32);
  }
}

void iq4_xs(const Byte* b, float* x) {
  const float d = half(b);
  const unsigned high = u16(b + 2);
  for (unsigned s = 0; s < 8; ++s) {
    const unsigned low = s % 2 == 0 ? b[4 + s / 2] & 15u : b[4 + s / 2] >> 4;
    const unsigned scale = low | (high >> 2 * s & 3u) << 4;
    const float dl = d * static_cast<float>(static_cast<int>(scale) - 32);
    for (unsigned i = 0; i < 32; ++i) {
      x[32 * s + i] = dl * static_cast<float>(kIq4Levels[nibble(b + 8 + 16 * s, i)]);
    }
  }
}

void f32(const Byte* b, float* x) { std::memcpy(x, b, sizeof(float)); }
void f16(const Byte* b, float* x) { *x = half(b); }
void bf16(const Byte* b, float* x) { *x = bf16_to_f32(u16(b)); }

using DequantizeBlock = void (*)(const Byte*, float*);

DequantizeBlock block_function(GgmlType type) {
  switch (type) {
    case GgmlType::kF32:
      return f32;
    case GgmlType::kF16:
      return f16;
    case GgmlType::kBF16:
      return bf16;
    case GgmlType::kQ4_0:
      return q4_0;
    case GgmlType::kQ4_1:
      return q4_1;
    case GgmlType::kQ5_0:
      return q5_0;
    case GgmlType::kQ5_1:
      return q5_1;
    case GgmlType::kQ8_0:
      return q8_0;
    case GgmlType::kQ2_K:
      return q2_k;
    case GgmlType::kQ3_K:
      return q3_k;
    case GgmlType::kQ4_K:
      return q4_k;
    case GgmlType::kQ5_K:
      return q5_k;
    case GgmlType::kQ6_K:
      return q6_k;
    case GgmlType::kIQ1_S:
      return iq1_s;
    case GgmlType::kIQ1_M:
      return iq1_m;
    case GgmlType::kIQ2_XXS:
      return iq2_xxs;
    case GgmlType::kIQ2_XS:
      return iq2_xs;
    case GgmlType::kIQ2_S:
      return iq2_s;
    case GgmlType::kIQ3_XXS:
      return iq3_xxs;
    case GgmlType::kIQ3_S:
      return iq3_s;
    case GgmlType::kIQ4_NL:
      return iq4_nl;
    case GgmlType::kIQ4_XS:
      return iq4_xs;
    case GgmlType::kTQ1_0:
      return tq1_0;
    case GgmlType::kTQ2_0:
      return tq2_0;
    case GgmlType::kMXFP4:
      return mxfp4;
  }
  return nullptr;
}

}  // namespace

const GgmlLayout* ggml_layout(std::uint32_t type) {
  const auto* found = std::ranges::find(kLayouts, static_cast<GgmlType>(type), &GgmlLayout::type);
  return found == kLayouts.end() ? nullptr : found;
}

const GgmlLayout& ggml_layout(GgmlType type) {
  return *ggml_layout(static_cast<std::uint32_t>(type));
}

std::string ggml_type_text(std::uint32_t type) {
  const GgmlLayout* layout = ggml_layout(type);
  if (layout != nullptr) return fmt::format("{} (type {})", layout->name, type);
  for (const auto& [number, name] : kOtherNames) {
    if (number == type) return fmt::format("{} (type {})", name, type);
  }
  return fmt::format("type {}", type);
}

std::string readable_ggml_types() {
  std::string names;
  for (const GgmlLayout& layout : kLayouts) {
    if (!names.empty()) names += ", ";
    names += layout.name;
  }
  return names;
}

void dequantize(GgmlType type, std::span<const std::byte> blocks, std::span<float> out) {
  const GgmlLayout& layout = ggml_layout(type);
  const DequantizeBlock block = block_function(type);
  const std::size_t count = out.size() / layout.block_elements;
  assert(out.size() % layout.block_elements == 0 && blocks.size() == count * layout.block_bytes);
  const auto* from = reinterpret_cast<const Byte*>(blocks.data());
  for (std::size_t i = 0; i < count; ++i) {
    block(from + i * layout.block_bytes, out.data() + i * layout.block_elements);
  }
}

}  // namespace assay
