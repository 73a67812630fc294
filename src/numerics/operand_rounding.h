// How engines round what an operation reads or makes, beyond the type that they hold it in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "assay/array.h"

namespace assay {

enum class OperandType : std::uint8_t {
  kOwn,  // as it is
  kBf16,
  kF16,
  kTf32,         // 10 bits of mantissa, to the nearest
  kTf32Cut,      // the same, cut off
  kQ8Of32,       // 8 bits in blocks of 32 with a scale in F16: ggml's Q8_0
  kQ8Of32Exact,  // the same with a scale in FP32; ggml's Q8_1 does some of each
  kQ8Of256,      // 8 bits in blocks of 256 with a scale in FP32: ggml's Q8_K
  kI8Row,        // 8 bits with one scale in FP32 for each row: largest / 127
  kI8RowWide,    // the same of largest / 127.5, so that -128 is used too
  kF8,           // E4M3 as it is: what is beyond 448 is 448
  kF8Row,        // E4M3 with one scale for each row
  kF8Tensor,     // E4M3 with one scale for all rows
};

// "F16", "8 bits per 32", "FP8 per token".
std::string_view operand_type_text(OperandType type);

// Whether it keeps 8 bits of each value or fewer.
bool is_quantised(OperandType type);

// Rounds rows of `width` values in place; each row is cut into blocks by itself.
template <class Real>
void round_operand(OperandType type, std::span<Real> values, std::size_t width);

// x rounded to kBF16, kF16 or kF8E4M3; as it is for any other type.
double rounded_to(DType dtype, double x);

}  // namespace assay
