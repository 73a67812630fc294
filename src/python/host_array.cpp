#include "python/host_array.h"

#include <array>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "assay/error.h"

namespace assay::python {
namespace {

namespace nb = nanobind;

struct HostType {
  DType dtype;
  const char* name;
  nb::dlpack::dtype_code code;  // DLPack's, of the type itself
  std::uint8_t bits;
  nb::dlpack::dtype_code numpy_code;  // as which numpy gets it
};

// DLPack 1.1 has codes for FP8.
constexpr auto kFloat8E4M3Fn = static_cast<nb::dlpack::dtype_code>(10);
constexpr auto kFloat8E5M2 = static_cast<nb::dlpack::dtype_code>(12);

using Code = nb::dlpack::dtype_code;
constexpr std::array<HostType, 15> kTypes = {{
    {DType::kBool, "bool", Code::Bool, 8, Code::Bool},
    {DType::kU8, "uint8", Code::UInt, 8, Code::UInt},
    {DType::kI8, "int8", Code::Int, 8, Code::Int},
    {DType::kI16, "int16", Code::Int, 16, Code::Int},
    {DType::kI32, "int32", Code::Int, 32, Code::Int},
    {DType::kI64, "int64", Code::Int, 64, Code::Int},
    {DType::kF8E4M3, "float8_e4m3fn", kFloat8E4M3Fn, 8, Code::UInt},
    {DType::kF8E5M2, "float8_e5m2", kFloat8E5M2, 8, Code::UInt},
    {DType::kF16, "float16", Code::Float, 16, Code::Float},
    {DType::kBF16, "bfloat16", Code::Bfloat, 16, Code::UInt},
    {DType::kF32, "float32", Code::Float, 32, Code::Float},
    {DType::kF64, "float64", Code::Float, 64, Code::Float},
    {DType::kU16, "uint16", Code::UInt, 16, Code::UInt},
    {DType::kU32, "uint32", Code::UInt, 32, Code::UInt},
    {DType::kU64, "uint64", Code::UInt, 64, Code::UInt},
}};

// The table is in the enum's order.
const HostType& type_of(DType dtype) { return kTypes[static_cast<std::size_t>(dtype)]; }

DType dtype_of(const std::string& name, nb::dlpack::dtype found, const std::string& given) {
  for (const HostType& type : kTypes) {
    const bool is_it =
        given.empty() ? static_cast<std::uint8_t>(type.code) == found.code : given == type.name;
    if (is_it && type.bits == found.bits && found.lanes == 1) return type.dtype;
  }
  throw usage_error(name, given.empty() ? "an element type that Assay does not know" : given,
                    "booleans, integers or floating-point numbers of at most 64 bits");
}

}  // namespace

Strided strided_view(const std::string& name, const HostArray& array, const std::string& dtype) {
  const DType type = dtype_of(name, array.dtype(), dtype);
  // The data may begin anywhere in its buffer, and is then not aligned for its type.
  return {name.c_str(),           array.data(),
          static_cast<int>(type), static_cast<int>(array.ndim()),
          array.shape_ptr(),      array.stride_ptr()};
}

std::string host_dtype_name(DType dtype) { return type_of(dtype).name; }

nb::object numpy_view(LoadedArray array, nb::object owner) {
  struct Kept {
    LoadedArray array;
    nb::object owner;
  };
  auto kept = std::make_unique<Kept>(Kept{std::move(array), std::move(owner)});
  const ArrayView& view = kept->array.view;
  const HostType& type = type_of(view.dtype);
  std::vector<std::size_t> shape(view.shape.begin(), view.shape.end());
  const void* data = view.bytes.data();
  nb::capsule capsule(kept.get(), [](void* p) noexcept { delete static_cast<Kept*>(p); });
  kept.release();  // the capsule has it
  return nb::cast(nb::ndarray<nb::numpy, nb::ro>(
      data, shape.size(), shape.data(), capsule, nullptr,
      nb::dlpack::dtype{static_cast<std::uint8_t>(type.numpy_code), type.bits, 1}));
}

}  // namespace assay::python
