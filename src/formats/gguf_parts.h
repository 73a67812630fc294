// A GGUF checkpoint's files: one, or all parts of a split one.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "formats/gguf.h"

namespace assay {

class GgufParts {
 public:
  // file: the only file, or the first part (NAME-00001-of-0000N.gguf) of a split checkpoint, with
  // the other parts next to it. Throws an input error that names file, key or tensor.
  explicit GgufParts(const std::filesystem::path& file);

  // The part with the metadata.
  const GgufFile& head() const noexcept { return files_.front(); }
  const std::vector<GgufFile>& files() const noexcept { return files_; }
  const GgufTensor* find(std::string_view name) const noexcept;

  std::vector<GgufFile> take_files() && { return std::move(files_); }

 private:
  std::vector<GgufFile> files_;
};

// The GGUF file of a checkpoint: the path itself if it is a .gguf file, or the only .gguf file (or
// the first part of the only split one) in a directory without safetensors weights. None otherwise.
// Throws an input error for a directory with several GGUF files.
std::optional<std::filesystem::path> gguf_file_of(const std::filesystem::path& checkpoint);

}  // namespace assay
