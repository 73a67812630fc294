// A GGUF file: metadata by key, and tensors in place in the mapping.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "assay/array.h"
#include "base/mapped_file.h"
#include "formats/gguf_quants.h"

namespace assay {

struct GgufTensor {
  std::string name;
  GgmlType type = GgmlType::kF32;
  Shape shape;                       // slowest axis first: the file's dimensions backwards
  std::span<const std::byte> bytes;  // whole blocks

  std::size_t elements() const;
};

class GgufFile {
 public:
  // Throws an input error that names file, key or tensor; see gguf.cpp for the limits.
  explicit GgufFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const noexcept { return file_.path(); }
  // In the file's order.
  std::span<const GgufTensor> tensors() const noexcept { return tensors_; }
  const GgufTensor* find(std::string_view name) const noexcept;

  // Metadata. Getters without a fallback throw an input error when the key is missing. All getters
  // throw one when the value has the wrong kind. Numbers may be stored as any numeric type.
  bool has(std::string_view key) const noexcept;
  std::string_view string(std::string_view key) const;
  std::optional<std::string_view> optional_string(std::string_view key) const;
  bool boolean(std::string_view key, bool fallback) const;
  std::int64_t integer(std::string_view key) const;  // below 2^31, and not negative
  std::int64_t integer(std::string_view key, std::int64_t fallback) const;
  // A finite number. A number stored as F32 is read as the shortest decimal number that rounds to
  // it: 1e-6 and not 9.999999974752427e-07, because that is what the model's config said.
  double number(std::string_view key) const;
  // Empty when the key is missing.
  std::span<const std::string_view> strings(std::string_view key) const;
  std::vector<double> numbers(std::string_view key) const;
  // Whether the value is a list.
  bool is_list(std::string_view key) const;

  // "FILE: key 'KEY'" and "FILE: tensor 'NAME'".
  std::string where(std::string_view key) const;
  std::string tensor_where(std::string_view tensor) const;

  // The mapping, for callers that keep the tensors' bytes longer than this object.
  MappedFile take_mapping() && { return std::move(file_); }

 private:
  struct NumberList {
    std::uint32_t type = 0;
    std::span<const std::byte> bytes;
  };
  using Value = std::variant<std::uint64_t, std::int64_t, float, double, bool, std::string_view,
                             std::vector<std::string_view>, NumberList>;
  struct Entry {
    std::string_view key;
    Value value;
  };
  class Cursor;

  Value read_value(Cursor& cursor, std::uint32_t type, std::string_view key) const;
  Value read_list(Cursor& cursor, std::string_view key) const;
  void read_tensors(Cursor& cursor, std::uint64_t count);
  void check_overlaps() const;
  const Entry* entry(std::string_view key) const noexcept;
  const Entry& require(std::string_view key, std::string_view expected) const;
  double as_number(const Entry& entry) const;

  MappedFile file_;
  std::vector<Entry> metadata_;  // sorted by key; views into the mapping
  std::vector<GgufTensor> tensors_;
  std::vector<std::size_t> by_name_;  // positions in tensors_, sorted by name
};

}  // namespace assay
