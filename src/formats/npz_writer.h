// An .npz, an array at a time.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string_view>

#include "assay/npz.h"

namespace assay {

// The file that write_npz writes, an array at a time as they come into being. Its thread reserves
// places in the order that the file will have; put() may then be called from several threads, once
// for each place, in any order. What was compressed before its turn is held in memory.
class NpzWriter {
 public:
  NpzWriter(const std::filesystem::path& path, Compression compression);
  // Nothing is left of a file that was not completed.
  ~NpzWriter();
  NpzWriter(const NpzWriter&) = delete;
  NpzWriter& operator=(const NpzWriter&) = delete;

  // The array's place. Throws what write_npz throws of an array.
  std::size_t reserve(const ArrayView& array);
  // Compresses the array and writes it in its turn. Where its bytes are not compressed they must
  // stay until the file is complete, unless `owner` keeps them.
  void put(std::size_t place, const ArrayView& array, std::shared_ptr<const void> owner = nullptr);
  // No more places come. The file is completed here, or by the last put().
  void close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Throws an input error unless an array of that name can be written: 1 to 60000 bytes of UTF-8 text
// without zero bytes.
void expect_npz_name(std::string_view name);

}  // namespace assay
