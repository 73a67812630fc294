// Arrays of numpy, torch, JAX and MLX as Assay reads them, and Assay's as numpy's.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <string>

#include "assay/array.h"
#include "base/strided.h"

namespace assay::python {

using HostArray = nanobind::ndarray<nanobind::ro, nanobind::device::cpu>;

// The array's elements, in place where they are contiguous. dtype: as torch names it ("bfloat16"),
// for arrays whose own type only says how wide their elements are; empty: the array's own. Throws a
// usage error for a type that Assay does not know. The result is good as long as both arguments
// live.
Strided strided_view(const std::string& name, const HostArray& array, const std::string& dtype);

// As torch and numpy name it: "bfloat16", "float32", "int64", ...
std::string host_dtype_name(DType dtype);

// A read-only numpy array of the elements, which `array` and `owner` keep. BF16 is uint16, FP8
// uint8.
nanobind::object numpy_view(LoadedArray array, nanobind::object owner);

}  // namespace assay::python
