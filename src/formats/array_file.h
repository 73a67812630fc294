// Named arrays from whatever another program wrote.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "assay/array.h"

namespace assay {

// The arrays of one of these:
//   FILE.npz           numpy's archive
//   FILE.npy           one array, named by the file
//   FILE.safetensors   those of vLLM and TensorRT Edge-LLM are shown tensor by tensor
//                      (formats/joined_arrays.h)
//   FILE.pt, .pth      tensors in dicts, lists and tuples as torch.save writes them, under their
//                      keys joined by dots; one without a key is named by the file
//   FILE.gguf          under its own names; quantised tensors as F32
//   FILE.json          a sidecar that describes raw dumps (docs/reference-data-format.md)
//   DIRECTORY          that msprobe wrote (formats/msprobe_dump.h)
//   DIRECTORY          of .npy and .pt files, each an array (or several) named by its file, also as
//                      SGLang's dumper names them; or of model.safetensors or its shards
// Nothing is read before it is asked for. Thread-safe once opened.
class ArrayFile {
 public:
  // Throws an input error (missing, damaged, unknown kind of file).
  explicit ArrayFile(const std::filesystem::path& path);
  class Source;
  // Of arrays that `source` has; path: for messages.
  ArrayFile(std::filesystem::path path, std::unique_ptr<Source> source);
  ~ArrayFile();
  ArrayFile(ArrayFile&&) noexcept;
  ArrayFile& operator=(ArrayFile&&) noexcept;

  const std::filesystem::path& path() const noexcept { return path_; }
  // In the file's order; of a directory, sorted.
  const std::vector<std::string>& names() const noexcept { return names_; }
  bool contains(std::string_view name) const noexcept;
  // Bytes of the array's elements, or a little more (a header). Reads nothing.
  std::uint64_t size_of(std::string_view name) const;
  // Type and shape. Of a .npz's member just the header is inflated. Throws an input error.
  ArrayForm form_of(std::string_view name) const;
  // The view is good as long as this object and the LoadedArray live. Throws an input error.
  LoadedArray load(std::string_view name) const;

  // What one of the kinds above must offer.
  class Source {
   public:
    virtual ~Source() = default;
    virtual std::vector<std::string> names() const = 0;
    virtual std::uint64_t size_of(std::string_view name) const = 0;
    virtual LoadedArray load(std::string_view name) const = 0;
    // Of a kind whose arrays lie in place loading costs nothing.
    virtual ArrayForm form_of(std::string_view name) const {
      const LoadedArray array = load(name);
      return {array.view.dtype, array.view.shape};
    }
  };

 private:
  void require(std::string_view name) const;

  std::filesystem::path path_;
  std::unique_ptr<Source> source_;
  std::vector<std::string> names_;
  std::unordered_set<std::string_view> known_;  // of the strings in names_
};

}  // namespace assay
