// Storage for an array's elements that cannot be used in place in their file.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "assay/array.h"
#include "formats/npy.h"

namespace assay {

// Up to this many bytes are kept in memory; more go into an unnamed file (base/scratch_file.h).
inline constexpr std::uint64_t kMostInMemory = std::uint64_t{32} << 20;

// Arrays may overlap in their file or repeat its bytes. Together they may have at most this many
// times the file's bytes, so that a small file does not cause endless reading.
inline constexpr std::uint64_t kMostTimes = 64;

// Makes space for `bytes` bytes, which the array owns. Their pages may be given back when this
// function sets array.view.mapped. The caller sets the view. Throws a system error that names
// `where` when the disk is full.
std::span<std::byte> make_room(LoadedArray& array, std::uint64_t bytes, std::string_view where);

// The array in place in a mapped file, or a copy in C order when it is stored in Fortran order.
LoadedArray in_c_order(NpyData data, std::string_view where);

}  // namespace assay
