#include "base/widen.h"

#include <cstdint>
#include <cstring>

#include "base/half.h"

namespace assay {
namespace {

template <class Stored, class Real, class Convert>
void convert_all(const std::byte* first, std::ptrdiff_t stride, std::span<Real> out,
                 Convert convert) {
  for (std::size_t i = 0; i < out.size(); ++i, first += stride) {
    Stored stored;
    std::memcpy(&stored, first, sizeof stored);
    out[i] = static_cast<Real>(convert(stored));
  }
}

}  // namespace

template <class Real>
void widen(DType dtype, const std::byte* first, std::ptrdiff_t stride, std::span<Real> out) {
  const auto as_is = [](auto x) { return x; };
  switch (dtype) {
    case DType::kBool:
    case DType::kU8:
      return convert_all<std::uint8_t>(first, stride, out, as_is);
    case DType::kI8:
      return convert_all<std::int8_t>(first, stride, out, as_is);
    case DType::kI16:
      return convert_all<std::int16_t>(first, stride, out, as_is);
    case DType::kI32:
      return convert_all<std::int32_t>(first, stride, out, as_is);
    case DType::kI64:
      return convert_all<std::int64_t>(first, stride, out, as_is);
    case DType::kU16:
      return convert_all<std::uint16_t>(first, stride, out, as_is);
    case DType::kU32:
      return convert_all<std::uint32_t>(first, stride, out, as_is);
    case DType::kU64:
      return convert_all<std::uint64_t>(first, stride, out, as_is);
    case DType::kF8E4M3:
      return convert_all<std::uint8_t>(first, stride, out, f8e4m3_to_f32);
    case DType::kF8E5M2:
      return convert_all<std::uint8_t>(first, stride, out, f8e5m2_to_f32);
    case DType::kF16:
      return convert_all<std::uint16_t>(first, stride, out, f16_to_f32);
    case DType::kBF16:
      return convert_all<std::uint16_t>(first, stride, out, bf16_to_f32);
    case DType::kF32:
      return convert_all<float>(first, stride, out, as_is);
    case DType::kF64:
      return convert_all<double>(first, stride, out, as_is);
  }
}

std::vector<double> widened(const ArrayView& array) {
  const std::size_t item = dtype_size(array.dtype);
  std::vector<double> values(array.bytes.size() / item);
  widen(array.dtype, array.bytes.data(), static_cast<std::ptrdiff_t>(item), std::span(values));
  return values;
}

template void widen(DType, const std::byte*, std::ptrdiff_t, std::span<float>);
template void widen(DType, const std::byte*, std::ptrdiff_t, std::span<double>);

}  // namespace assay
