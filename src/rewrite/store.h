// How results are rounded when they are stored.
#pragma once

#include <bit>
#include <cstdint>

#include "rewrite/operand_rounding.h"

namespace assay {

enum class Store : std::uint8_t {
  kOwn,        // as the numerics does
  kTruncated,  // to BF16 towards zero; with numerics f32
  kF16,        // to F16, which overflows beyond 65504; with numerics f32
};

inline float truncated_to_bf16(float x) {
  auto bits = std::bit_cast<std::uint32_t>(x) & 0xFFFF0000u;
  asm("" : "+r"(bits));  // otherwise gcc 12 at -O3 uses the masked value instead of x
  return std::bit_cast<float>(bits);
}

// x as it is stored.
template <class N>
typename N::Real stored(Store store, typename N::Real x) {
  switch (store) {
    case Store::kOwn:
      break;
    case Store::kTruncated:
      return truncated_to_bf16(static_cast<float>(x));
    case Store::kF16:
      return static_cast<typename N::Real>(rounded_to(DType::kF16, x));
  }
  return N::round(x);
}

}  // namespace assay
