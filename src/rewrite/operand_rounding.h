// How engines round an operation's inputs or results, beyond the type in which they store them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "assay/array.h"

namespace assay {

enum class OperandType : std::uint8_t {
  kOwn,  // no further rounding
  kBf16,
  kF16,
  kTf32,         // 10 bits of mantissa, to the nearest
  kTf32Cut,      // the same, truncated
  kQ8Of32,       // 8 bits in blocks of 32 with a scale in F16: ggml's Q8_0
  kQ8Of32Exact,  // the same with a scale in FP32; ggml's Q8_1 does some of each
  kQ8Of256,      // 8 bits in blocks of 256 with a scale in FP32: ggml's Q8_K
  kI8Row,        // 8 bits with one scale in FP32 for each row: largest / 127
  kI8RowWide,    // the same of largest / 127.5, so that -128 is used too
  kF8,           // E4M3 without a scale: values beyond 448 become 448
  kF8Row,        // E4M3 with one scale for each row
  kF8Tensor,     // E4M3 with one scale for all rows
};

// "F16", "8 bits in blocks of 32", "FP8 per token".
std::string_view operand_type_text(OperandType type);

// Whether the rounding keeps at most 8 bits of each value.
bool is_quantised(OperandType type);

// Rounds rows of `width` values in place. Each row is divided into blocks separately.
template <class Real>
void round_operand(OperandType type, std::span<Real> values, std::size_t width);

// x rounded to kBF16, kF16 or kF8E4M3; unchanged for any other type.
double rounded_to(DType dtype, double x);

}  // namespace assay
