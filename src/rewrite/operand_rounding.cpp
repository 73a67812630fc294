#include "rewrite/operand_rounding.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/half.h"

namespace assay {
namespace {

constexpr double kGreatestF8 = 448;

// FP8 E4M3: 3 bits of mantissa, exponents from -6 to 8, at most 448.
double rounded_to_f8(double x) {
  const double magnitude = std::min(std::abs(x), kGreatestF8);
  const int exponent = std::max(magnitude > 0 ? std::ilogb(magnitude) : -6, -6);
  const double step = std::ldexp(1.0, exponent - 3);
  return std::copysign(std::nearbyint(magnitude / step) * step, x);
}

float rounded_to_tf32(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if ((bits & 0x7F800000u) == 0x7F800000u) return x;
  return std::bit_cast<float>((bits + 0xFFFu + ((bits >> 13) & 1u)) & 0xFFFFE000u);
}

float cut_to_tf32(float x) {
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(x) & 0xFFFFE000u);
}

template <class Real>
Real largest(std::span<const Real> values) {
  Real most = 0;
  for (const Real x : values) most = std::max(most, std::abs(x));
  return most;
}

// Whole numbers from -127 to 127 times largest / 127. If requested, this scale is rounded to F16
// after the whole numbers were computed, as in ggml.
template <class Real>
void quantise(std::span<Real> block, bool scale_in_f16) {
  const Real most = largest<Real>(block);
  if (!(most > 0) || !std::isfinite(most)) return;
  const Real inverse = Real{127} / most;
  const Real exact = most / Real{127};
  const Real scale =
      scale_in_f16 ? static_cast<Real>(rounded_to(DType::kF16, static_cast<double>(exact))) : exact;
  for (Real& x : block) x = std::nearbyint(x * inverse) * scale;
}

// torchao's: 127.5 steps to the largest, by the inverse of the step.
template <class Real>
void quantise_wide(std::span<Real> row) {
  const Real most = largest<Real>(row);
  if (!(most > 0) || !std::isfinite(most)) return;
  const Real step = most / Real{127.5};
  const Real inverse = Real{1} / step;
  for (Real& x : row) x = std::clamp(std::nearbyint(x * inverse), Real{-128}, Real{127}) * step;
}

// ggml's Q8_K: the value that is farthest from zero becomes -127.
template <class Real>
void quantise_signed(std::span<Real> block) {
  Real most = 0;
  for (const Real x : block) {
    if (std::abs(x) > std::abs(most)) most = x;
  }
  if (most == 0 || !std::isfinite(most)) return;
  const Real inverse = Real{-127} / most;
  const Real scale = Real{1} / inverse;
  for (Real& x : block) x = std::min(std::nearbyint(x * inverse), Real{127}) * scale;
}

template <class Real>
void scale_to_f8(std::span<Real> block) {
  const Real most = largest<Real>(block);
  if (!(most > 0) || !std::isfinite(most)) return;
  const Real scale = most / static_cast<Real>(kGreatestF8);
  for (Real& x : block)
    x = static_cast<Real>(rounded_to_f8(static_cast<double>(x / scale))) * scale;
}

// Calls body with each block of each row; the last of a row may be shorter.
template <class Real, class Body>
void for_each_block(std::span<Real> values, std::size_t width, std::size_t block,
                    const Body& body) {
  for (std::size_t row = 0; row < values.size(); row += width) {
    for (std::size_t i = 0; i < width; i += block) {
      body(values.subspan(row + i, std::min(block, width - i)));
    }
  }
}

}  // namespace

std::string_view operand_type_text(OperandType type) {
  switch (type) {
    case OperandType::kOwn:
      return "their own type";
    case OperandType::kBf16:
      return "BF16";
    case OperandType::kF16:
      return "F16";
    case OperandType::kTf32:
    case OperandType::kTf32Cut:
      return "TF32";
    case OperandType::kQ8Of32:
    case OperandType::kQ8Of32Exact:
      return "8 bits in blocks of 32";
    case OperandType::kQ8Of256:
      return "8 bits in blocks of 256";
    case OperandType::kI8Row:
      return "8 bits per token";
    case OperandType::kI8RowWide:
      return "8 bits per token (scales of largest / 127.5)";
    case OperandType::kF8:
      return "FP8";
    case OperandType::kF8Row:
      return "FP8 per token";
    case OperandType::kF8Tensor:
      return "FP8 per tensor";
  }
  return "?";
}

bool is_quantised(OperandType type) { return type >= OperandType::kQ8Of32; }

double rounded_to(DType dtype, double x) {
  if (dtype == DType::kBF16) return bf16_to_f32(f32_to_bf16(static_cast<float>(x)));
  if (dtype == DType::kF16) return f16_to_f32(f32_to_f16(static_cast<float>(x)));
  if (dtype == DType::kF8E4M3) return rounded_to_f8(x);
  return x;
}

template <class Real>
void round_operand(OperandType type, std::span<Real> values, std::size_t width) {
  const auto each = [&](auto rounded) {
    for (Real& x : values) x = static_cast<Real>(rounded(x));
  };
  switch (type) {
    case OperandType::kOwn:
      return;
    case OperandType::kBf16:
      return each([](Real x) { return rounded_to(DType::kBF16, static_cast<double>(x)); });
    case OperandType::kF16:
      return each([](Real x) { return rounded_to(DType::kF16, static_cast<double>(x)); });
    case OperandType::kTf32:
      return each([](Real x) { return rounded_to_tf32(static_cast<float>(x)); });
    case OperandType::kTf32Cut:
      return each([](Real x) { return cut_to_tf32(static_cast<float>(x)); });
    case OperandType::kQ8Of32:
      return for_each_block(values, width, 32, [](auto block) { quantise(block, true); });
    case OperandType::kQ8Of32Exact:
      return for_each_block(values, width, 32, [](auto block) { quantise(block, false); });
    case OperandType::kQ8Of256:
      return for_each_block(values, width, 256, [](auto block) { quantise_signed(block); });
    case OperandType::kI8Row:
      return for_each_block(values, width, width, [](auto row) { quantise(row, false); });
    case OperandType::kI8RowWide:
      return for_each_block(values, width, width, [](auto row) { quantise_wide(row); });
    case OperandType::kF8:
      return each([](Real x) { return rounded_to_f8(static_cast<double>(x)); });
    case OperandType::kF8Row:
      return for_each_block(values, width, width, [](auto row) { scale_to_f8(row); });
    case OperandType::kF8Tensor:
      return scale_to_f8(values);
  }
}

template void round_operand(OperandType, std::span<float>, std::size_t);
template void round_operand(OperandType, std::span<double>, std::size_t);

}  // namespace assay
