// Checkpoint weights: one .safetensors file, or shards with an index, mapped and used in place.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "assay/array.h"
#include "base/block_scales.h"

namespace assay {

struct WeightParts;  // src/formats/weight_parts.h

// The scales of a tensor in MXFP4 (numerics/mxfp4.h), whose own bytes are its elements.
struct Mxfp4Scales {
  std::span<const std::byte> bytes;
  std::size_t row_step = 1;  // every how many stored rows, of elements and scales, is the tensor's
};

// The scales of a tensor in FP8.
struct Fp8Scales {
  BlockScales blocks;
  std::size_t first_row = 0;  // which row of the matrix with these scales is the tensor's first
};

// The weights of one checkpoint directory. Tensors are views into read-only mappings that live as
// long as this object; nothing is copied. Headers are not trusted: see src/formats/safetensors.cpp
// for the limits that are enforced.
class Weights {
 public:
  // Opens DIR/model.safetensors, or the shards that DIR/model.safetensors.index.json names (the
  // single file wins when both exist, as in transformers). Throws an input error naming file,
  // tensor or offset.
  static Weights open(const std::filesystem::path& directory);
  // Opens one .safetensors file of any name.
  static Weights open_file(const std::filesystem::path& file);
  // Weights of another format, made to look the same.
  explicit Weights(WeightParts parts);
  ~Weights();
  Weights(Weights&&) noexcept;
  Weights& operator=(Weights&&) noexcept;

  // All tensors, sorted by name. Data may be unaligned for its dtype.
  std::span<const ArrayView> tensors() const noexcept;
  // nullptr when there is none of that name.
  const ArrayView* find(std::string_view name) const noexcept;
  // The tensor of that name and shape; its dtype must be BF16, F16 or F32, or F8_E4M3 if it has
  // scales. Otherwise an input error that names file, tensor, what was found and what was expected.
  const ArrayView& get(std::string_view name, std::span<const std::int64_t> shape) const;
  // Gives each tensor the name that new_name has for its own, unless another tensor has it.
  void rename(const std::function<std::string(const std::string&)>& new_name);
  // Puts other tensors in the place of each named one: views into its bytes, or into make()'s.
  void replace(std::map<std::string, std::vector<ArrayView>, std::less<>> parts);
  // Memory for tensors that are made from the files' contents; in_place() is false from then on.
  std::span<std::byte> make(std::size_t bytes);
  // The same for vectors, which are not streamed: in_place() stays.
  std::span<std::byte> make_vectors(std::size_t bytes);
  // Says that the tensor of that name is in MXFP4.
  void set_scales(const std::string& name, const Mxfp4Scales& scales);
  // nullptr when it is not.
  const Mxfp4Scales* scales_of(std::string_view name) const noexcept;
  // Says what the scales of the tensor of that name are, which is in F8_E4M3.
  void set_fp8_scales(const std::string& name, const Fp8Scales& scales);
  // nullptr when it has none. Valid until the tensor is renamed.
  const Fp8Scales* fp8_scales_of(std::string_view name) const noexcept;
  // The file that holds the tensor, for messages.
  const std::filesystem::path& file_of(std::string_view name) const;

  // The files in the order in which they are hashed (sorted by name).
  const std::vector<std::filesystem::path>& files() const noexcept;
  // The sum of all file sizes; where tensors were made from a file's (dequantised, reordered), what
  // all tensors take in memory.
  std::size_t total_bytes() const noexcept;
  // Whether every tensor is a view into a file's bytes.
  bool in_place() const noexcept;
  // All bytes of files()[file]; the tensors are views into these, where in_place().
  std::span<const std::byte> mapped(std::size_t file) const noexcept;

 private:
  Weights();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Writes a .safetensors file atomically: header padded to 8 bytes with spaces, metadata
// {"format":"pt"}, tensors in the given order. `fill` is called per tensor, in order, with a sink
// that takes its bytes in pieces, so that a checkpoint larger than memory can be written.
struct TensorInfo {
  std::string name;
  DType dtype = DType::kBF16;
  Shape shape;
};
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual void write(std::span<const std::byte> bytes) = 0;
};
void write_safetensors(const std::filesystem::path& path, std::span<const TensorInfo> tensors,
                       const std::function<void(const TensorInfo&, ByteSink&)>& fill);

}  // namespace assay
