// Converts stored weights one by one to Reals. Included like kernels_impl.h.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "assay/array.h"
#include "numerics/numerics.h"

namespace assay {
namespace {

ASSAY_INLINE float widen_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

ASSAY_INLINE float widen_f16(std::uint16_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
  const std::uint32_t magnitude = bits & 0x7FFFu;
  // Shifting exponent and mantissa into place leaves the exponent 112 too small; the product is
  // exact and also normalises subnormals.
  if (magnitude >= 0x7C00u) {
    // The hardware conversions make a signalling NaN quiet.
    const std::uint32_t quiet = magnitude > 0x7C00u ? 0x00400000u : 0u;
    return std::bit_cast<float>(sign | 0x7F800000u | quiet | ((magnitude & 0x3FFu) << 13));
  }
  const float scaled = std::bit_cast<float>(magnitude << 13) * 0x1p112F;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(scaled));
}

template <class N, DType kStored>
struct ElementsOf {
  static constexpr std::size_t kSize = kStored == DType::kF32 ? 4 : 2;
  ASSAY_INLINE static typename N::Real at(const std::byte* w, std::size_t i) {
    float value;
    if constexpr (kStored == DType::kF32) {
      std::memcpy(&value, w + i * kSize, kSize);
    } else {
      std::uint16_t bits;
      std::memcpy(&bits, w + i * kSize, kSize);
      value = kStored == DType::kBF16 ? widen_bf16(bits) : widen_f16(bits);
    }
    return N::kRoundsWeights && kStored != DType::kBF16 ? round_to_bf16(value) : value;
  }
};

}  // namespace
}  // namespace assay
