#include "formats/array_room.h"

#include <memory>

#include "base/scratch_file.h"

namespace assay {

std::span<std::byte> make_room(LoadedArray& array, std::uint64_t bytes, std::string_view where) {
  array.view.mapped = bytes > kMostInMemory;
  if (!array.view.mapped) {
    array.owned.resize(bytes);
    return array.owned;
  }
  auto file = std::make_shared<const ScratchFile>(bytes, where);
  const std::span<std::byte> room = file->bytes();
  array.held = std::move(file);
  return room;
}

LoadedArray in_c_order(NpyData data, std::string_view where) {
  LoadedArray array;
  if (!data.fortran_order) {
    array.view = std::move(data.view);
    array.view.mapped = true;
    return array;
  }
  const std::span<std::byte> room = make_room(array, data.view.bytes.size(), where);
  copy_row_major(data.view.bytes, data.view.shape, dtype_size(data.view.dtype), room);
  data.view.mapped = array.view.mapped;
  data.view.bytes = room;
  array.view = std::move(data.view);
  return array;
}

}  // namespace assay
