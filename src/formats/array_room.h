// Where an array's elements go that cannot stay where they lie in their file.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "assay/array.h"
#include "formats/npy.h"

namespace assay {

// Bytes for which memory is taken; more go into a file without a name (base/scratch_file.h).
inline constexpr std::uint64_t kMostInMemory = std::uint64_t{32} << 20;

// Arrays that overlap in their file, or repeat its bytes, stand for at most so many times as many
// as it has: a small file must not mean endless reading.
inline constexpr std::uint64_t kMostTimes = 64;

// Room for `bytes` that the array owns from now on, and whose pages may be given back where
// array.view.mapped is set here. The view is the caller's to set. Throws a system error that names
// `where` when the disk has no room.
std::span<std::byte> make_room(LoadedArray& array, std::uint64_t bytes, std::string_view where);

// The array where it lies in a mapped file; a copy in C order where it is in Fortran order.
LoadedArray in_c_order(NpyData data, std::string_view where);

}  // namespace assay
