// What the headers of safetensors files and the index of a sharded checkpoint say.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "assay/array.h"
#include "base/mapped_file.h"

namespace assay {

// A tensor of a file: its view, and its place in the file's data.
struct StoredTensor {
  ArrayView view;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::size_t file = 0;  // as parse_safetensors() was told
};

// Appends the tensors of the file, sorted by their place, to `all`. index: becomes their `file`.
// Throws an input error for whatever the format forbids.
void parse_safetensors(const MappedFile& file, std::size_t index, std::vector<StoredTensor>& all);

// The shard of each tensor, by the index file at `path`. Throws an input error.
std::map<std::string, std::string> read_weight_map(const std::filesystem::path& path);

// "FILE: tensor 'NAME'", for messages.
std::string tensor_where(const std::filesystem::path& file, std::string_view tensor);

}  // namespace assay
