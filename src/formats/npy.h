// The .npy header (numpy's "NEP 1"; numpy/lib/format.py is the reference).
//
//   "\x93NUMPY" | major, minor | u16 (version 1) or u32 (2, 3) header length, little-endian |
//   a Python dict literal: {'descr': '<f4', 'fortran_order': False, 'shape': (1, 5), }, padded with
//   spaces and a newline so that the data starts at a multiple of 64.
//
// Read are versions 1 to 3, little-endian numbers and bool, at most 32 axes, headers up to 64 KiB.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "assay/array.h"

namespace assay {

struct NpyHeader {
  DType dtype = DType::kF32;
  bool fortran_order = false;
  Shape shape;
  std::size_t data_offset = 0;  // from the start of the header
  std::size_t data_size = 0;    // bytes of elements
};

// The bytes before the data, as numpy writes them for a C-ordered array. BF16 has no numpy type:
// an input error.
std::string npy_header(const ArrayView& array);

// Parses the header at the start of `bytes` (which need not hold the data). `where` names file and
// member in errors.
NpyHeader parse_npy_header(std::span<const std::byte> bytes, std::string_view where);

// The elements, row-major: `data` as it is, or transposed when the header says Fortran order.
Array npy_array(std::string name, const NpyHeader& header, std::span<const std::byte> data);

}  // namespace assay
