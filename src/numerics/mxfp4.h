// MXFP4, the OCP Microscaling format with 4-bit elements in blocks of 32: e2m1 times a power of two
// that is stored as its exponent plus 127.
#pragma once

#include <cstddef>
#include <cstdint>

namespace assay {

constexpr std::size_t kMxfp4Block = 32;  // elements of a block
constexpr std::size_t kMxfp4Bytes = 16;  // of its elements

// The values of a block's elements as BF16, by its scale: all are exact, except that a product
// beyond BF16's range is infinite. With scale 255 (the format's NaN), zeros are NaN and all others
// infinite, as where transformers multiplies by 2^128. Each scale's are aligned to their size.
using Mxfp4Values = std::uint16_t[16];
extern const Mxfp4Values (&kMxfp4Values)[256];

// The same, with the values' low and high bytes apart, for instructions that look up bytes.
struct alignas(32) Mxfp4Halves {
  std::uint8_t low[16];
  std::uint8_t high[16];
};
extern const Mxfp4Halves (&kMxfp4Halves)[256];

}  // namespace assay
