// The .npy header (numpy's "NEP 1"; numpy/lib/format.py is the reference).
//
//   "\x93NUMPY" | major, minor | u16 (version 1) or u32 (2, 3) header length, little-endian |
//   a Python dict literal: {'descr': '<f4', 'fortran_order': False, 'shape': (1, 5), }, padded with
//   spaces and a newline so that the data starts at a multiple of 64.
//
// Assay writes version 1.0. It reads versions 1 to 3, little-endian numbers, bool and ml_dtypes'
// bfloat16, with at most 64 axes and headers of up to 64 KiB. The data must have the length that
// follows from shape and dtype.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "assay/array.h"

namespace assay {

// The bytes before the data, as numpy writes them for a C-ordered array. Throws an input error for
// BF16, which has no numpy type, for more than 64 axes, and for bytes that do not fit the shape.
std::string npy_header(const ArrayView& array);

// The elements of a whole .npy file, in place. `where` names file and member in errors.
struct NpyData {
  ArrayView view;
  bool fortran_order = false;  // the view's bytes have the first axis fastest
};
NpyData npy_data(std::string name, std::span<const std::byte> file, std::string_view where);

// Parses the header at the start of `bytes`. The elements may be missing.
ArrayForm npy_form(std::span<const std::byte> bytes, std::string_view where);

// Copies Fortran-ordered elements of `item` bytes in C order to as many bytes.
void copy_row_major(std::span<const std::byte> data, const Shape& shape, std::size_t item,
                    std::span<std::byte> to);

// The array in a whole .npy file, row-major (transposed when the header says Fortran order).
// `where` names file and member in errors.
Array npy_array(std::string name, std::vector<std::byte> file, std::string_view where);

}  // namespace assay
