// What torch.save writes (.pt, .pth): tensors in dicts, lists and tuples; nothing is executed.
//
// Since torch 1.6 a zip archive: ROOT/data.pkl, a pickle in which each storage is a persistent id
// ("storage", type, key, device, elements), ROOT/data/KEY with the storage's bytes, ROOT/byteorder.
// Before, and with _use_new_zipfile_serialization=False: pickles one behind the other (a magic
// number, the version, the machine's byte order, the object, the storages' keys), then each
// storage, its number of elements first.
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
    std::size_t item = 1;  // bytes of an element; of an untyped storage 1
  };
  struct Tensor {
    // Keys and indices joined by dots; empty where the file is one tensor.
    std::string name;
    DType dtype = DType::kF32;
    Shape shape;
    std::vector<std::int64_t> strides;  // in elements
    std::int64_t offset = 0;            // elements before the first
    Storage storage;
    std::string found;     // why it cannot be read; empty where it can
    std::string expected;  // what to save instead

    // Of the elements; 0 where the shape cannot be.
    std::uint64_t byte_count() const;
  };

  // Throws an input error: damaged, of another kind, or with Python objects other than tensors and
  // what holds them.
  explicit TorchFile(const std::filesystem::path& path);

  // In the order of the file. A tensor of a type that is not read is among them: load() says so.
  const std::vector<Tensor>& tensors() const { return tensors_; }
  // Whether the file is a dict, whose keys name the tensors; otherwise the file's name does.
  bool is_dict() const { return is_dict_; }
  // `name` is for messages. Throws an input error where the tensor cannot be read.
  ArrayForm form_of(const Tensor& tensor, const std::string& name) const;
  // Named `name`; in the file's mapping where the elements lie so there. Throws an input error.
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
