#include "numerics/mxfp4.h"

#include <array>
#include <bit>

namespace assay {
namespace {

struct Table {
  alignas(64) Mxfp4Values values[256];
  Mxfp4Halves halves[256];
};

// BF16's bits of m * 2^(scale - 127), for m in halves: 0, 0.5, 1, 1.5, 2, 3, 4 or 6.
constexpr std::uint16_t magnitude(unsigned halves, int scale) {
  constexpr std::uint16_t kInfinity = 0x7F80;
  constexpr std::uint16_t kNan = 0x7FC0;
  if (halves == 0) return scale == 255 ? kNan : 0;
  int exponent = scale - 1;  // biased, of halves * 2^(scale - 128) once halves is in [1, 2)
  unsigned fraction = halves;
  while (fraction > 3) fraction /= 2;  // 1, 2 or 3: what is shifted out is 0
  for (unsigned h = halves; h > 1; h /= 2) ++exponent;
  if (scale == 255 || exponent >= 255) return kInfinity;
  const bool half = fraction == 3;  // 1.5
  if (exponent > 0) return static_cast<std::uint16_t>(exponent << 7 | (half ? 0x40 : 0));
  // Subnormal: 1 or 1.5 shifted to the right.
  return static_cast<std::uint16_t>((half ? 0xC0 : 0x80) >> (1 - exponent));
}

constexpr Table make_table() {
  constexpr std::array<unsigned, 8> kHalves = {0, 1, 2, 3, 4, 6, 8, 12};
  Table table{};
  for (int scale = 0; scale < 256; ++scale) {
    for (unsigned i = 0; i < 16; ++i) {
      const std::uint16_t sign = i >= 8 ? 0x8000 : 0;
      const auto bits = static_cast<std::uint16_t>(magnitude(kHalves[i % 8], scale) | sign);
      table.values[scale][i] = bits;
      table.halves[scale].low[i] = static_cast<std::uint8_t>(bits & 0xFF);
      table.halves[scale].high[i] = static_cast<std::uint8_t>(bits >> 8);
    }
  }
  return table;
}

constexpr Table kTable = make_table();

}  // namespace

const Mxfp4Values (&kMxfp4Values)[256] = kTable.values;
const Mxfp4Halves (&kMxfp4Halves)[256] = kTable.halves;

}  // namespace assay
