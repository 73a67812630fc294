// Files that torch.save writes (.pt, .pth): tensors in dicts, lists and tuples. Nothing is
// executed.
//
// Since torch 1.6 they are zip archives: ROOT/data.pkl is a pickle in which each storage is a
// persistent id ("storage", type, key, device, elements), ROOT/data/KEY has the storage's bytes,
// and ROOT/byteorder the byte order. Older files, and those written with
// _use_new_zipfile_serialization=False, are several pickles in sequence (a magic number, the
// version, the machine's byte order, the object, the storages' keys), followed by the storages,
// each preceded by its number of elements.
//
// Every size, offset and stride is checked against its storage.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "assay/array.h"
#include "base/mapped_file.h"
#include "formats/array_file.h"

namespace assay {

class TorchFile {
 public:
  struct Storage {
    std::string key;
    std::uint64_t elements = 0;
    std::size_t item = 1;  // bytes per element; 1 for an untyped storage
  };
  struct Tensor {
    // Keys and indices joined by dots; empty when the file is a single tensor.
    std::string name;
    DType dtype = DType::kF32;
    Shape shape;
    std::vector<std::int64_t> strides;  // in elements
    std::int64_t offset = 0;            // elements before the first
    Storage storage;
    std::string found;     // why the tensor cannot be read; empty when it can
    std::string expected;  // what to save instead

    // Bytes of all elements; 0 when the shape is invalid.
    std::uint64_t byte_count() const;
  };

  // Throws an input error when the file is damaged, is not a torch file, or contains Python objects
  // other than tensors and their containers.
  explicit TorchFile(const std::filesystem::path& path);

  // The tensors in the order of the file, those of unsupported types included: load() refuses
  // these.
  const std::vector<Tensor>& tensors() const { return tensors_; }
  // Whether the file is a dict, whose keys name the tensors; otherwise the file's name does.
  bool is_dict() const { return is_dict_; }
  // `name` is for messages. Throws an input error where the tensor cannot be read.
  ArrayForm form_of(const Tensor& tensor, const std::string& name) const;
  // The tensor as an array called `name`, in place in the file's mapping when the elements are
  // contiguous there. Throws an input error.
  LoadedArray load(const Tensor& tensor, const std::string& name) const;

 private:
  void read_archive();
  void read_legacy();
  std::string where(const std::string& name) const;

  MappedFile file_;
  std::vector<Tensor> tensors_;
  bool is_dict_ = false;
  std::map<std::string, std::span<const std::byte>, std::less<>> storages_;  // by key
};

}  // namespace assay
